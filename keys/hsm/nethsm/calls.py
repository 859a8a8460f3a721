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

from keys.hsm.calling import run, run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.nethsm import clients
from keys.hsm.nethsm.access import NetHsmUser
from keys.hsm.nethsm.calling import Refused, course
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm_errors import HsmAnswerRefused

MAX_ANSWER: Final = 256 * 1024
JSON: Final = "application/json"
PEM: Final = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class NetHsmRequest:
    """``method`` of ``path`` (below ``/api/v1``) as ``user``; ``answers`` are the statuses that the caller knows.

    ``largest`` is how many bytes of an answer are read; one that is longer is refused.
    """

    method: str
    path: str
    user: NetHsmUser | None
    answers: frozenset[int] = frozenset({200})
    body: Mapping[str, Any] | None = None
    accept: str = JSON
    largest: int = MAX_ANSWER

    def arguments(self, config: NetHsmConfig, seconds: float) -> dict[str, Any]:
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
class NetHsmResponse:
    """A status that the caller asked for, and its body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises HsmAnswerRefused."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise HsmAnswerRefused from None


async def call(config: NetHsmConfig, breaker: Breaker, wanted: NetHsmRequest) -> NetHsmResponse:
    """The answer, from the event loop, within 5 s. Raises keys.hsm_errors."""
    tries = course(breaker, str(wanted))
    lane = await clients.loop_client(config)
    return await run(tries, lambda client, seconds: _try(client, config, wanted, seconds), lane.place)


async def _try(
    client: httpx.AsyncClient, config: NetHsmConfig, wanted: NetHsmRequest, seconds: float
) -> NetHsmResponse:
    body = bytearray()
    async with asyncio.timeout(seconds), client.stream(**wanted.arguments(config, seconds)) as response:
        async for part in response.aiter_raw():
            _add(body, part, wanted.largest)
    return _answer(response, wanted, body)


def call_blocking(config: NetHsmConfig, breaker: Breaker, wanted: NetHsmRequest) -> NetHsmResponse:
    """The answer, from a thread or a job, within 5 s. Raises keys.hsm_errors."""
    tries = course(breaker, str(wanted))
    client = clients.blocking_client(config)
    return run_blocking(tries, lambda seconds: _try_blocking(client, config, wanted, seconds))


def _try_blocking(client: httpx.Client, config: NetHsmConfig, wanted: NetHsmRequest, seconds: float) -> NetHsmResponse:
    until = time.monotonic() + seconds
    body = bytearray()
    with client.stream(**wanted.arguments(config, seconds)) as response:
        for part in response.iter_raw():
            _add(body, part, wanted.largest)
            if time.monotonic() > until:
                raise TimeoutError
    return _answer(response, wanted, body)


def _answer(response: httpx.Response, wanted: NetHsmRequest, body: bytearray) -> NetHsmResponse:
    # What is wrong with the device itself is never an answer.
    if response.status_code >= 500 or response.status_code not in wanted.answers:
        raise Refused(response.status_code, response.headers)
    return NetHsmResponse(response.status_code, bytes(body))


def _add(body: bytearray, part: bytes, largest: int) -> None:
    if len(body) + len(part) > largest:
        raise HsmAnswerRefused
    body += part
