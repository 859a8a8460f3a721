"""What is in memory while rows are read again: limits, revocations and the outbox (threats C11, C12, F1)."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from bunker import services
from bunker.changes import ChangeKind
from bunker.models import Change, Connection
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Client, Home, next_look, regrant, unscoped
from tests.waiting import eventually

TEMPLATE = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})
TEN_USES = {
    "version": 1,
    "rules": [{"effect": "allow", "methods": ["sign_event"], "kinds": [1]}],
    "limits": {"total_uses": 10},
}


async def connection_of(home: Home, client: Client) -> Connection:
    def find() -> Connection:
        with unscoped():
            return Connection.objects.get(key=home.key, client_public_key=client.public_key)

    return await sync_to_async(find)()


async def revoke(connection: Connection) -> None:
    await sync_to_async(services.revoke_connection)(actor=ACTOR, connection=connection)


def signed() -> int:
    return AuditRow.objects.filter(tag=AuditTag.SIGN_EVENT, outcome=AuditOutcome.OK).count()


async def test_ten_uses_are_ten_even_while_the_rows_are_read_again(worker: Running, home: Home) -> None:
    """A client can have its rows read again at will, by saying ``connect`` once more between its requests."""
    client = await connected(worker, home)
    connection = await connection_of(home, client)

    def limit() -> None:
        with unscoped():
            regrant(Connection.objects.filter(id=connection.id), policy=TEN_USES)

    await sync_to_async(limit)()
    await worker[0].reconciler.reload([home.transport.id])
    bunker = worker[0]
    held = asyncio.Event()
    opened = bunker.engine.parts.envelopes.open

    async def slowly(item: Any) -> Any:
        request = await opened(item)
        await held.wait()
        return request

    bunker.engine.parts.envelopes.open = slowly  # type: ignore[method-assign]
    for number in range(15):
        worker[1].send(client.compose("sign_event", [TEMPLATE], f"early{number}")[1])
    await bunker.reconciler.reload([home.transport.id])
    for number in range(15):
        worker[1].send(client.compose("sign_event", [TEMPLATE], f"late{number}")[1])
    held.set()
    answers = [await client.next() for _ in range(30)]
    assert sum("error" not in answer for answer in answers) == 10
    assert await sync_to_async(signed)() == 10


async def test_a_revocation_is_seen_behind_any_number_of_other_changes(worker: Running, home: Home) -> None:
    """More changes within the overlap than one read takes must not hide the newest."""
    client = await connected(worker, home)
    connection = await connection_of(home, client)
    bunker = worker[0]

    def crowd() -> None:
        now = time.time_ns() // 1_000_000
        Change.objects.bulk_create(
            [Change(kind=ChangeKind.KEY.value, object_id=uuid.uuid4().hex, at=now) for _ in range(6_000)],
            batch_size=500,
        )

    await sync_to_async(crowd)()
    await bunker.reconciler.look()
    await revoke(connection)
    await next_look(bunker.reconciler)
    assert "error" in await client.sign("after")


class Counted(dict[str, Any]):
    """Counts the values that are walked through."""

    passed = 0

    def values(self) -> Any:
        for value in super().values():
            self.passed += 1
            yield value


async def test_many_changes_do_not_stop_the_event_loop(worker: Running, home: Home) -> None:
    """Locking thousands of keys at once must not keep the worker from its leases."""
    bunker = worker[0]
    await connected(worker, home)
    signer = bunker.snapshot.signers[home.transport.public_key]
    for number in range(5_000):
        bunker.snapshot.signers[f"{number:064x}"] = signer

    def crowd() -> None:
        now = time.time_ns() // 1_000_000
        Change.objects.bulk_create(
            [Change(kind=ChangeKind.KEY.value, object_id=uuid.uuid4().hex, at=now) for _ in range(3_000)],
            batch_size=500,
        )

    await sync_to_async(crowd)()
    genuine, bunker.snapshot.signers = bunker.snapshot.signers, Counted(bunker.snapshot.signers)
    await bunker.reconciler.look()
    passed, bunker.snapshot.signers = bunker.snapshot.signers.passed, genuine
    for number in range(5_000):
        del bunker.snapshot.signers[f"{number:064x}"]
    assert 5_000 < passed <= 4 * 5_001, "a few passes over all signers, not one for each change"


@pytest.mark.parametrize("ended", [False, True], ids=["connected app", "revoked app"])
async def test_an_app_that_keeps_connecting_does_not_delay_a_revocation(
    worker: Running, home: Home, ended: bool
) -> None:
    """``connect`` costs a transaction and a read of the rows: a client cannot have that as often as it likes."""
    noisy = await connected(worker, home)
    quiet = await connected(worker, home)
    if ended:
        await revoke(await connection_of(home, noisy))
        await worker[0].reconciler.look()
    victim = await connection_of(home, quiet)
    ran = 0
    bunker = worker[0]
    run_action = bunker.engine.parts.connection_methods.run

    async def counted(operation: Any) -> Any:
        nonlocal ran
        ran += 1
        return await run_action(operation)

    bunker.engine.parts.connection_methods.run = counted  # type: ignore[method-assign]
    for number in range(600):
        worker[1].send(noisy.compose("connect", [home.transport.public_key, "0" * 32], f"c{number}")[1])
    await revoke(victim)
    await next_look(bunker.reconciler)
    assert "error" in await quiet.sign("after")
    await eventually(lambda: not bunker.stats.in_flight and not bunker.stats.queued)
    assert ran <= 40
