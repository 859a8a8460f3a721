"""Outbound relays are shared out between tenants: nobody pushes another's out by naming many (threats S4)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from accounts.services import set_quotas
from bunker.models import Connection
from bunker.worker.relay_shares import shared_out
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Home, unscoped

A, B = UUID(int=1), UUID(int=2)


def relays(count: int, keys: int = 1, name: str = "r") -> dict[str, set[str]]:
    return {f"wss://{name}{number}.example": {f"k{key}" for key in range(keys)} for number in range(count)}


def test_a_tenant_has_no_more_than_its_bound() -> None:
    served, left_out = shared_out({A: relays(9)}, {A: 3}, (), 50)
    assert (len(served), left_out) == (3, 6)


def test_a_tenant_with_many_relays_leaves_connections_for_one_with_few() -> None:
    wanted = {A: relays(60, keys=100), B: relays(2, name="small")}
    served, left_out = shared_out(wanted, {}, (), 10)
    assert len(served) == 10
    assert set(wanted[B]) <= set(served)
    assert left_out == 52


def test_a_relay_that_two_name_takes_one_place_and_carries_both() -> None:
    served, left_out = shared_out({A: {"wss://x": {"a"}}, B: {"wss://x": {"b"}, "wss://y": {"b"}}}, {}, (), 2)
    assert served == {"wss://x": {"a", "b"}, "wss://y": {"b"}}
    assert left_out == 0


def test_the_operators_relays_come_first_and_count_for_nobody() -> None:
    wanted = {A: {"wss://own": {"a"}, "wss://ours": {"a"}}, B: {"wss://ours": {"b"}}}
    served, left_out = shared_out(wanted, {A: 0}, ("wss://ours",), 1)
    assert served == {"wss://ours": {"a", "b"}}
    assert left_out == 1


async def test_a_worker_keeps_to_the_share_and_hears_when_it_changes(worker: Running, home: Home) -> None:
    await connected(worker, home)
    pool: Any = worker[0]._pool

    def name_many() -> None:
        with unscoped():
            Connection.objects.filter(key=home.key).update(relays=list(relays(5)))
        set_quotas(actor=ACTOR, tenant=home.tenant, relays=2)

    await sync_to_async(name_many)()
    await worker[0].reconciler.look()
    await worker[0].reconciler.reload([home.transport.id])
    worker[0]._relays.change()
    assert len(pool.wanted) == 2
