"""Two workers on one database (threats T16, R3): one answer each, and none from a sleeper."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from bunker.worker import leases
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.nostr.nip01 import Event
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Client, FakePort, Home

TEMPLATE = json.dumps({"kind": 1, "content": "once", "tags": [], "created_at": 1})


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch, start_worker: Callable[..., Any]) -> Callable[..., Any]:
    """Start workers side by side, on SQLite too."""
    genuine = leases.register_worker
    monkeypatch.setattr(leases, "register_worker", lambda worker_id, *, exclusive: genuine(worker_id, exclusive=False))
    return start_worker


async def settled(first: Running, second: Running) -> None:
    while not (len(first[0].holding.servable()) == len(second[0].holding.servable()) == 32):
        await asyncio.sleep(0.05)


@pytest.mark.timeout(60)
async def test_two_workers_answer_each_request_once_and_a_paused_worker_stores_nothing(
    several: Any, home: Home
) -> None:
    async with several() as first:
        client = await connected(first, home)
        async with several(port=FakePort(), is_alone=False) as second:
            await settled(first, second)
            second[1].waiters[client.public_key] = client._inbox
            owner, other = sorted((first, second), key=lambda one: not one[0].holding.fence(home.transport.shard))
            assert other[0].holding.fence(home.transport.shard) == 0
            await _ask_both(first, second, client)

            async def asleep(**_: Any) -> None:
                raise OperationalError("asleep")

            owner[0]._beat = asleep
            while home.transport.shard not in other[0].holding.servable():
                await asyncio.sleep(0.05)
            assert owner[0].holding.fence_to_finish(home.transport.shard) == 0
            await _ask_both(first, second, client)
    signed = AuditRow.objects.filter(tag=AuditTag.SIGN_EVENT, outcome=AuditOutcome.OK)
    assert await signed.acount() == 2


async def _ask_both(first: Running, second: Running, client: Client) -> None:
    """Deliver one event to both; exactly one answers.

    Whoever took a shard over may publish stored replies of the last seconds again, its own among them: that is the same
    event. An answer of the other worker would be another one, sealed anew.
    """
    event_id, raw = client.compose("sign_event", [TEMPLATE])
    first[1].send(raw)
    second[1].send(raw)

    def replies() -> list[Event]:
        return [reply for _, port in (first, second) for reply in port.published if ["e", event_id] in reply.tags]

    while not replies():
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.6)
    assert len({reply.id for reply in replies()}) == 1
    assert "error" not in client.read(replies()[0])
