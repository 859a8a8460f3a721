"""Measures a bunker from the client's side: requests per second and latency, answers verified afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from keycast.nostr.client import identity
from keycast.nostr.client.bunker import BunkerClient
from keycast.nostr.client.checks import signed_as_asked
from keycast.nostr.client.errors import BadAnswer, ClientError

WARM_UP = 3
"""Requests of each client before the clock starts: pairing opens keys and connections."""


@dataclass(slots=True)
class SpeedMeasurement:
    """One run. ``latencies`` are seconds; ``answers`` are (template, answer) pairs, to be verified."""

    latencies: list[float] = field(default_factory=list)
    answers: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that ``share`` (0 to 1) of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0


async def measure(urls: Sequence[str], *, clients: int, seconds: float, patience: float = 15.0) -> dict[str, Any]:
    """Have ``clients`` ask for signatures, one after another each, for ``seconds``; returns the figures.

    Each address pairs one client key; with fewer addresses than clients, clients share one, each over its own socket.
    """
    async with AsyncExitStack() as stack:
        sessions = [await _paired(stack, url, count, patience) for url, count in _spread(urls, clients)]
        flat = [session for group in sessions for session in group]
        public_keys = await asyncio.gather(*(session.get_public_key() for session in flat))
        await asyncio.gather(
            *(_sign(session, SpeedMeasurement(), number) for session in flat for number in range(WARM_UP))
        )
        results = [SpeedMeasurement() for _ in flat]
        started = time.monotonic()
        await asyncio.gather(*(_work(*pair, until=started + seconds) for pair in zip(flat, results, strict=True)))
        elapsed = time.monotonic() - started
    _verify(results, public_keys)
    return _figures(results, elapsed)


def _spread(urls: Sequence[str], clients: int) -> list[tuple[str, int]]:
    used = urls[:clients]
    return [(url, clients // len(used) + (place < clients % len(used))) for place, url in enumerate(used)]


async def _paired(stack: AsyncExitStack, url: str, count: int, patience: float) -> list[BunkerClient]:
    keypair = identity.fresh()
    first = await stack.enter_async_context(BunkerClient(url, keypair=keypair, timeout=patience))
    await first.connect(metadata={"name": "keycast bench"})
    more = [BunkerClient(url, keypair=keypair, timeout=patience) for _ in range(count - 1)]
    return [first, *(await asyncio.gather(*(stack.enter_async_context(client) for client in more)))]


async def _work(session: BunkerClient, result: SpeedMeasurement, *, until: float) -> None:
    number = 0
    while time.monotonic() < until:
        number += 1
        await _sign(session, result, number)


async def _sign(session: BunkerClient, result: SpeedMeasurement, number: int) -> None:
    template = {"kind": 1, "content": f"measured {number}", "tags": [], "created_at": int(time.time())}
    started = time.monotonic()
    try:
        answer = await session.request("sign_event", [json.dumps(template)])
    except ClientError as error:
        result.refusals.append(error.public_message)
        return
    result.latencies.append(time.monotonic() - started)
    result.answers.append((template, answer))


def _verify(results: Sequence[SpeedMeasurement], public_keys: Sequence[str]) -> None:
    for result, public_key in zip(results, public_keys, strict=True):
        seen = {signed_as_asked(answer, template, public_key).sig for template, answer in result.answers}
        if len(seen) != len(result.answers):
            raise BadAnswer("Two requests got one and the same signature.")


def _figures(results: Sequence[SpeedMeasurement], elapsed: float) -> dict[str, Any]:
    total = SpeedMeasurement(
        latencies=[latency for result in results for latency in result.latencies],
        refusals=[text for result in results for text in result.refusals],
    )
    return {
        "clients": len(results),
        "seconds": round(elapsed, 2),
        "signed": len(total.latencies),
        "per_second": round(len(total.latencies) / elapsed, 1),
        "p50_ms": total.percentile(0.50),
        "p95_ms": total.percentile(0.95),
        "refused": len(total.refusals),
        "refusals": sorted(set(total.refusals))[:5],
    }
