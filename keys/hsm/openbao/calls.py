"""One call to OpenBao, from an event loop or from a thread: tried, bounded in time and size, and judged.

Every call made here may be repeated. Source: OpenBao's API documentation, "Transit secrets engine".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import msgspec

from keys.hsm.calling import Course, Health, Pause, Verdict, run, run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.openbao import clients
from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm_errors import (
    HsmAnswerRefused,
    HsmForbidden,
    HsmKeyUnusable,
    HsmMisconfigured,
    HsmThrottled,
    HsmUnavailable,
)

T = TypeVar("T")
MAX_ANSWER: Final = 8 * 1024 * 1024
_ABOUT_KEY: Final = (b"soft-deleted key", b"requested version for signing")
_PAUSE: Final = Pause(0.05, (1.0, 1.5))
_THROTTLED_PAUSE: Final = Pause(0.5, (1.0, 1.5))


class UnverifiableBaoAnswer(HsmAnswerRefused):
    """A signature that does not fit this key's stored public key: no sign of an ailing service."""


class BaoStatusError(Exception):
    """A status that is not 200 or 204. ``is_about_key``: the key is out of use, which OpenBao tells as status 500."""

    def __init__(self, status: int, *, is_about_key: bool = False) -> None:
        super().__init__(status)
        self.status, self.is_about_key = status, is_about_key


@dataclass(frozen=True, slots=True)
class BaoRequest:
    """``method`` of ``path`` below ``/v1``. ``answers`` are statuses beside 200 and 204 that the caller understands."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    answers: frozenset[int] = frozenset()
    manages: bool = False

    def arguments(self, config: OpenBaoConfig, seconds: float) -> dict[str, Any]:
        """What httpx's ``stream`` takes."""
        found: dict[str, Any] = {
            "method": self.method,
            "url": f"{config.base_url}/{self.path}",
            "headers": {"X-Vault-Token": config.read_token(manages=self.manages)},
            "timeout": httpx.Timeout(seconds),
        }
        if self.body is not None:
            found["content"] = msgspec.json.encode(self.body)
        return found

    def __str__(self) -> str:
        return f"{self.method} {'/'.join(self.path.split('/')[:2])}"


@dataclass(frozen=True, slots=True)
class BaoAnswer:
    """A status that the caller asked for, and what stands under ``data`` in its body (empty: none).

    ``refusal`` is the beginning of the body of any other status than 200 and 204.
    """

    status: int
    data: Mapping[str, Any]
    refusal: bytes = b""

    def text(self, name: str) -> str:
        """A text among the data. Raises HsmAnswerRefused."""
        found = self.data.get(name)
        if not isinstance(found, str):
            raise HsmAnswerRefused from ValueError(f"no {name}")
        return found


class OpenBaoJudge:
    """A Judge (keys.hsm.calling)."""

    service = "OpenBao"
    errors: tuple[type[Exception], ...] = (httpx.HTTPError, TimeoutError, BaoStatusError, HsmAnswerRefused)
    too_late = HsmThrottled

    def __call__(self, error: Exception, *, is_cut_short: bool, last: Exception | None) -> Verdict:
        if isinstance(error, BaoStatusError):
            return _of_status(error)
        if isinstance(error, HsmAnswerRefused):
            health = Health.UNKNOWN if isinstance(error, UnverifiableBaoAnswer) else Health.AILING
            return Verdict(error, health, str(error.__cause__), _PAUSE)
        if is_cut_short and isinstance(error, (TimeoutError, httpx.TimeoutException)):
            return Verdict(last or HsmThrottled(), Health.UNKNOWN)  # by a wait of ours: says nothing of the service
        return Verdict(HsmUnavailable(), Health.AILING, type(error).__name__, _PAUSE)


async def call(config: OpenBaoConfig, breaker: Breaker, wanted: BaoRequest, check: Callable[[BaoAnswer], T]) -> T:
    """``check`` of the answer, from the event loop, within 5 s. Raises keys.hsm_errors."""
    config.require()
    loop = await clients.loop_client(config)

    async def attempt(client: httpx.AsyncClient, seconds: float) -> T:
        body = bytearray()
        async with asyncio.timeout(seconds), client.stream(**wanted.arguments(config, seconds)) as response:
            async for part in response.aiter_raw():
                _add(body, part)
        return check(_answer(response.status_code, wanted, body))

    return await run(Course(breaker, str(wanted), OpenBaoJudge()), attempt, loop.place)


def call_blocking(config: OpenBaoConfig, breaker: Breaker, wanted: BaoRequest) -> BaoAnswer:
    """The answer, from a thread or a job, within 5 s. Raises keys.hsm_errors."""
    config.require()
    client = clients.blocking_client(config)

    def attempt(seconds: float) -> BaoAnswer:
        until, body = time.monotonic() + seconds, bytearray()
        with client.stream(**wanted.arguments(config, seconds)) as response:
            for part in response.iter_raw():
                _add(body, part)
                if time.monotonic() > until:
                    raise TimeoutError
        return _answer(response.status_code, wanted, body)

    return run_blocking(Course(breaker, str(wanted), OpenBaoJudge()), attempt)


def _answer(status: int, wanted: BaoRequest, body: bytearray) -> BaoAnswer:
    if status in wanted.answers:
        return BaoAnswer(status, {}, bytes(body[:4096]))
    if status not in {200, 204}:
        raise BaoStatusError(status, is_about_key=any(words in body[:4096] for words in _ABOUT_KEY))
    if not body:
        return BaoAnswer(status, {})
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HsmAnswerRefused from error
    data = found.get("data") if isinstance(found, dict) else None
    return BaoAnswer(status, data if isinstance(data, dict) else {})


def _of_status(error: BaoStatusError) -> Verdict:
    status = error.status
    if error.is_about_key:  # else one disabled key would have everybody's calls refused
        return Verdict(HsmKeyUnusable(), Health.ANSWERED, f"status {status}, of this key")
    if status >= 500:  # 503: sealed, or no active node
        return Verdict(HsmUnavailable(), Health.AILING, f"status {status}", _PAUSE)
    if status == 429:
        return Verdict(HsmThrottled(), Health.ANSWERED, "throttled", _THROTTLED_PAUSE)
    if status in {401, 403}:
        return Verdict(HsmForbidden(), Health.ANSWERED, f"status {status}")
    if status == 404:
        return Verdict(HsmKeyUnusable("This key does not exist in the HSM any more."), Health.ANSWERED, "status 404")
    return Verdict(HsmMisconfigured(), Health.ANSWERED, f"status {status}")


def _add(body: bytearray, part: bytes) -> None:
    if len(body) + len(part) > MAX_ANSWER:
        raise HsmAnswerRefused from ValueError("too long an answer")
    body += part
