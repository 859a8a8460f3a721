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

from keys.hsm.breaker import Breaker
from keys.hsm.errors import HsmAnswerRefused, HsmThrottled
from keys.hsm.nethsm import clients
from keys.hsm.nethsm.access import User
from keys.hsm.nethsm.config import Config
from keys.hsm.nethsm.tries import Tries

MAX_ANSWER: Final = 256 * 1024
JSON: Final = "application/json"
PEM: Final = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class Call:
    """``method`` of ``path`` (below ``/api/v1``) as ``user``; ``answers`` are the statuses that the caller knows."""

    method: str
    path: str
    user: User | None
    answers: frozenset[int] = frozenset({200})
    body: Mapping[str, Any] | None = None
    accept: str = JSON

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
    if lane.under_way >= clients.UNDER_WAY:
        raise HsmThrottled
    lane.under_way += 1
    try:
        return await _call(lane.client, config, tries, wanted)
    finally:
        lane.under_way -= 1


async def _call(client: httpx.AsyncClient, config: Config, tries: Tries, wanted: Call) -> Answer:
    while True:
        seconds = tries.before()
        try:
            async with asyncio.timeout(seconds), client.stream(**wanted.arguments(config, seconds)) as response:
                body = bytearray()
                async for part in response.aiter_raw():
                    _add(body, part)
        except (httpx.HTTPError, TimeoutError) as error:
            pause = tries.failed(error)
        else:
            waits = tries.judge(response.status_code, response.headers)
            if waits is None:
                return Answer(response.status_code, bytes(body))
            pause = waits
        await asyncio.sleep(pause)


def call_blocking(config: Config, breaker: Breaker, wanted: Call) -> Answer:
    """The answer, from a thread or a job, within 5 s. Raises keys.hsm.errors."""
    tries = Tries(breaker, str(wanted), wanted.answers)
    client = clients.blocking_client(config)
    while True:
        seconds = tries.before()
        until = time.monotonic() + seconds
        try:
            with client.stream(**wanted.arguments(config, seconds)) as response:
                body = bytearray()
                for part in response.iter_raw():
                    _add(body, part)
                    if time.monotonic() > until:
                        raise TimeoutError
        except (httpx.HTTPError, TimeoutError) as error:
            pause = tries.failed(error)
        else:
            waits = tries.judge(response.status_code, response.headers)
            if waits is None:
                return Answer(response.status_code, bytes(body))
            pause = waits
        time.sleep(pause)


def _add(body: bytearray, part: bytes) -> None:
    if len(body) + len(part) > MAX_ANSWER:
        raise HsmAnswerRefused
    body += part
