"""One call to the NetHSM, from an event loop or from a thread: tried, bounded in time and size, and judged.

Source: NetHSM's API description, version v1 (docs/nethsm-api.yaml in Nitrokey/nethsm).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from keys.hsm.circuit_breaker import Breaker
from keys.hsm.errors import HsmAnswerRefused
from keys.hsm.nethsm import clients
from keys.hsm.nethsm.access import User
from keys.hsm.nethsm.calling import Tries
from keys.hsm.nethsm.config import Config

MAX_ANSWER: Final = 256 * 1024
JSON: Final = "application/json"
PEM: Final = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class Call:
    """``method`` of ``path`` (below ``/api/v1``) as ``user``; ``answers`` are the statuses that the caller knows.

    ``largest`` is how many bytes of an answer are read; one that is longer is refused.
    """

    method: str
    path: str
    user: User | None
    answers: frozenset[int] = frozenset({200})
    body: Mapping[str, Any] | None = None
    accept: str = JSON
    largest: int = MAX_ANSWER

    def arguments(self, config: Config, seconds: float) -> dict[str, Any]:
        """What httpx's ``stream`` takes."""
        found: dict[str, Any] = {
            "method": self.method,
            "url": f"{config.base_url}{self.path}",
            "headers": {"Accept": self.accept},
            "timeout": httpx.Timeout(seconds),
        }
        if self.user is not None:
            found["auth"] = self.user.auth
        if self.body is not None:
            found["headers"]["Content-Type"] = JSON
            found["content"] = msgspec.json.encode(self.body)
        elif self.method == "PUT":
            found["headers"]["Content-Type"] = JSON
        return found

    def __str__(self) -> str:
        return f"{self.method} {self.path.split('/')[1]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that the caller asked for, and its body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises HsmAnswerRefused."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise HsmAnswerRefused from None


async def call(config: Config, breaker: Breaker, wanted: Call) -> Answer:
    """The answer, from the event loop, within 5 s. Raises keys.hsm.errors."""
    tries = Tries(breaker, str(wanted), wanted.answers)
    lane = await clients.lane(config)
    while True:
        async with lane.place(tries.left) as client:
            outcome = await _try(client, config, tries, wanted)
        if isinstance(outcome, Answer):
            return outcome
        await asyncio.sleep(outcome)


async def _try(client: httpx.AsyncClient, config: Config, tries: Tries, wanted: Call) -> Answer | float:
    """The answer, or seconds to pause before the next try."""
    seconds = tries.before()
    body = bytearray()
    try:
        async with asyncio.timeout(seconds), client.stream(**wanted.arguments(config, seconds)) as response:
            async for part in response.aiter_raw():
                _add(body, part, wanted.largest)
    except (httpx.HTTPError, TimeoutError) as error:
        return tries.failed(error)
    pause = tries.judge(response.status_code, response.headers)
    return Answer(response.status_code, bytes(body)) if pause is None else pause


def call_blocking(config: Config, breaker: Breaker, wanted: Call) -> Answer:
    """The answer, from a thread or a job, within 5 s. Raises keys.hsm.errors."""
    tries = Tries(breaker, str(wanted), wanted.answers)
    client = clients.blocking_client(config)
    while True:
        outcome = _try_blocking(client, config, tries, wanted)
        if isinstance(outcome, Answer):
            return outcome
        time.sleep(outcome)


def _try_blocking(client: httpx.Client, config: Config, tries: Tries, wanted: Call) -> Answer | float:
    seconds = tries.before()
    until = time.monotonic() + seconds
    body = bytearray()
    try:
        with client.stream(**wanted.arguments(config, seconds)) as response:
            for part in response.iter_raw():
                _add(body, part, wanted.largest)
                if time.monotonic() > until:
                    raise TimeoutError
    except (httpx.HTTPError, TimeoutError) as error:
        return tries.failed(error)
    pause = tries.judge(response.status_code, response.headers)
    return Answer(response.status_code, bytes(body)) if pause is None else pause


def _add(body: bytearray, part: bytes, largest: int) -> None:
    if len(body) + len(part) > largest:
        raise HsmAnswerRefused
    body += part
