"""What stops signing does so everywhere and at once; without the log there is no signature (threats C11, A1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts.models import Membership
from accounts.panic.services import lock_deployment
from accounts.services import deactivate_user, lock_tenant, lock_user, suspend_member, suspend_tenant
from bunker import services
from bunker.models import Connection
from bunker.worker import commit_transaction, leases
from keycast.audit.errors import AuditUnavailable
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from keys import services as key_services
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, FakePort, Home, make_home, make_tenant, next_look, unscoped


def revoke(home: Home) -> None:
    for connection in Connection.objects.filter(key=home.key):
        services.revoke_connection(actor=ACTOR, connection=connection)


def lock_connections(home: Home) -> None:
    for connection in Connection.objects.filter(key=home.key):
        services.lock_connection(actor=ACTOR, connection=connection)


STOPS: dict[str, Callable[[Home], Any]] = {
    "connection revoked": revoke,
    "connection locked": lock_connections,
    "key locked": lambda home: key_services.lock_key(actor=ACTOR, key=home.key),
    "key disabled": lambda home: key_services.disable_key(actor=ACTOR, key=home.key),
    "key to be destroyed": lambda home: key_services.schedule_destruction(actor=ACTOR, key=home.key),
    "user locked": lambda home: lock_user(actor=ACTOR, user=home.user),
    "user deactivated": lambda home: deactivate_user(actor=ACTOR, user=home.user),
    "member suspended": lambda home: suspend_member(
        actor=ACTOR, membership=Membership.objects.get(user=home.user), by=None
    ),
    "tenant locked": lambda home: lock_tenant(actor=ACTOR, tenant=home.tenant),
    "deployment locked": lambda home: lock_deployment(actor=ACTOR, reason="drill"),
    "tenant suspended": lambda home: suspend_tenant(actor=ACTOR, tenant=home.tenant),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
async def test_a_stop_is_heard_with_the_next_look_at_changes_though_caches_are_warm(worker: Running, stop: Any) -> None:
    """Without the hint, so that only the poll brings it; the key is open, and so is a conversation."""

    def people() -> tuple[Home, Home]:
        tenant = make_tenant()
        leader = make_home(tenant)
        return make_home(tenant), leader

    home, _ = await sync_to_async(people)()
    client = await connected(worker, home)
    assert "error" not in await client.sign()
    assert "error" not in await client.ask("nip44_encrypt", client.public_key, "hello")
    worker[0].reconciler.hint = lambda: None  # type: ignore[method-assign]

    def do() -> None:
        with unscoped():
            stop(home)

    await sync_to_async(do)()
    await next_look(worker[0].reconciler)
    assert "error" in await client.sign()
    for method, params in (("nip44_encrypt", [client.public_key, "x"]), ("get_public_key", []), ("ping", [])):
        assert "error" in await client.ask(method, *params), method
    signed = worker[0].stats.signed
    assert "error" in await client.sign()
    assert worker[0].stats.signed == signed


@pytest.mark.timeout(60)
async def test_a_tenants_lock_reaches_every_worker(
    monkeypatch: pytest.MonkeyPatch, start_worker: Callable[..., Any], transactional_db: None
) -> None:
    genuine = leases.register_worker
    monkeypatch.setattr(leases, "register_worker", lambda worker_id, *, exclusive: genuine(worker_id, exclusive=False))

    def people() -> list[Home]:
        tenant = make_tenant()
        return [make_home(tenant) for _ in range(6)]

    homes = await sync_to_async(people)()
    async with start_worker() as first:
        clients = [await connected(first, home) for home in homes]
        async with start_worker(port=FakePort(), is_alone=False) as second:
            while len(first[0].holding.servable()) != 32 or len(second[0].holding.servable()) != 32:
                await asyncio.sleep(0.05)
            for client, home in zip(clients, homes, strict=True):
                if second[0].holding.fence(home.transport.shard):
                    client.port = second[1]
                    second[1].waiters[client.public_key] = client._inbox
                assert "error" not in await client.sign()
            await sync_to_async(lock_tenant)(actor=ACTOR, tenant=homes[0].tenant)
            await asyncio.gather(*(next_look(each[0].reconciler) for each in (first, second)))
            assert all("error" in answer for answer in await asyncio.gather(*(client.sign() for client in clients)))


def outcomes() -> dict[str, int]:
    rows = AuditRow.objects.filter(tag=AuditTag.SIGN_EVENT)
    return {outcome: rows.filter(outcome=outcome).count() for outcome in (AuditOutcome.INTENT, AuditOutcome.OK)}


async def test_nothing_is_signed_while_the_intent_cannot_be_written(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    used = 0
    sign = worker[0].engine.parts.key_requests.keys.sign_event

    async def counted(*given: Any) -> Any:
        nonlocal used
        used += 1
        return await sign(*given)

    def unavailable(*_: Any) -> None:
        raise AuditUnavailable

    monkeypatch.setattr(worker[0].engine.parts.key_requests.keys, "sign_event", counted)
    with monkeypatch.context() as patch:
        patch.setattr(commit_transaction, "append", unavailable)
        assert "error" in await client.sign()
        assert used == 0
    assert await sync_to_async(outcomes)() == {AuditOutcome.INTENT: 0, AuditOutcome.OK: 0}
    assert "error" not in await client.sign()
    assert used == 1


async def test_nothing_is_released_while_the_result_cannot_be_written(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    genuine = commit_transaction.append
    failing = 2

    def results_fail(cursor: Any, entries: Any) -> None:
        nonlocal failing
        if failing and any(entry.outcome == AuditOutcome.OK for entry in entries):
            failing -= 1
            raise AuditUnavailable
        genuine(cursor, entries)

    monkeypatch.setattr(commit_transaction, "append", results_fail)
    before = len(worker[1].published)
    template = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})
    worker[1].send(client.compose("sign_event", [template])[1])
    while failing:
        assert len(worker[1].published) == before
        await asyncio.sleep(0.01)
    assert "error" not in await client.next()
    assert await sync_to_async(outcomes)() == {AuditOutcome.INTENT: 1, AuditOutcome.OK: 1}
