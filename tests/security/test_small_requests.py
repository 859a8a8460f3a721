"""A connected app, of the least policy, that asks without end: what it can write, and how often it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async

from bunker.models import Connection, Request, RequestRate
from bunker.services import set_request_rate
from bunker.worker.admission import APP_DAY_IS_FULL, RATE_LIMITED, TENANT_DAY_IS_FULL, AdmissionLimits
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Client, Home, make_home, make_tenant, unscoped

SECRET = "5e" * 32
INFO = ("ping", "get_public_key", "switch_relays")


async def rows() -> tuple[int, int]:
    return await Request.objects.acount(), await AuditRow.objects.acount()


async def test_small_requests_write_one_audit_row_a_day(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "read-only")
    before = await rows()
    for _ in range(50):
        for method in INFO:
            assert (await client.ask(method))["result"]
    after = await rows()
    assert after == (before[0] + 1, before[1] + 1)
    assert await AuditRow.objects.filter(tag=AuditTag.GET_PUBLIC_KEY).acount() == 1


async def test_each_day_has_a_row_of_its_own(worker: Running, home: Home, monkeypatch: Any) -> None:
    client = await connected(worker, home, "read-only")
    await client.ask("get_public_key")
    record = worker[0].snapshot.signers[home.transport.public_key].clients[client.public_key]
    record.noted_on -= 1  # as if it had asked yesterday
    await client.ask("get_public_key")
    await client.ask("get_public_key")
    assert await AuditRow.objects.filter(tag=AuditTag.GET_PUBLIC_KEY).acount() == 2


async def test_an_app_asks_at_a_persons_rate_after_its_burst(
    start_worker: Callable[..., Any], home: Home, settings: Any
) -> None:
    settings.BUNKER_LIMITS = {"client_rate": 0.001, "client_burst": 5}
    async with start_worker() as worker:
        client = await connected(worker, home, "read-only")
        answers = [await client.ask("ping") for _ in range(6)]
        assert [answer.get("error", "") for answer in answers] == [""] * 5 + [RATE_LIMITED]
        await called_a_server(home, client)
        await worker[0].reconciler.look()
        assert (await client.ask("ping"))["result"] == "pong"


async def test_an_app_asks_so_often_a_day(start_worker: Callable[..., Any], home: Home, settings: Any) -> None:
    settings.BUNKER_LIMITS = {"client_day": 3, "machine_day": 5}
    async with start_worker() as worker:
        client = await connected(worker, home, "full")
        signed = [await client.sign(str(number)) for number in range(4)]
        assert [answer.get("error", "") for answer in signed] == ["", "", "", APP_DAY_IS_FULL]
        await called_a_server(home, client)
        await worker[0].reconciler.look()
        more = [await client.ask("ping") for _ in range(3)]
        assert [answer.get("error", "") for answer in more] == ["", "", APP_DAY_IS_FULL]


async def test_all_apps_of_a_tenant_ask_so_often_a_day(
    start_worker: Callable[..., Any], home: Home, settings: Any
) -> None:
    settings.BUNKER_LIMITS = {"tenant_day": 3}
    other = await sync_to_async(lambda: make_home(make_tenant()))()
    async with start_worker() as worker:
        first, second = await connected(worker, home), await connected(worker, home)
        elsewhere = await connected(worker, other)
        asked = [await client.ask("ping") for client in (first, second, first, second, elsewhere)]
        errors = [answer.get("error", "") for answer in asked]
        assert errors == ["", "", "", TENANT_DAY_IS_FULL, ""]


async def test_a_restart_gives_an_app_no_second_day(
    start_worker: Callable[..., Any], home: Home, settings: Any
) -> None:
    settings.BUNKER_LIMITS = {"client_day": 3}
    async with start_worker() as worker:
        client = await connected(worker, home, "full", SECRET)
        for number in range(2):
            assert "error" not in await client.sign(str(number))
    async with start_worker() as worker:
        client = Client(worker[1], home.transport.public_key, SECRET)
        assert "error" not in await client.sign("the third")
        assert (await client.sign("the fourth"))["error"] == APP_DAY_IS_FULL
    settings.BUNKER_LIMITS = {"tenant_day": 3}
    async with start_worker() as worker:
        client = Client(worker[1], home.transport.public_key, SECRET)
        assert (await client.ask("ping"))["error"] == TENANT_DAY_IS_FULL


def test_a_burst_that_suits_a_message_inbox_is_promised_to_people_and_servers() -> None:
    limits = AdmissionLimits()
    assert limits.client_rate == 20
    assert min(limits.client_burst, limits.machine_burst) >= 1_000


async def called_a_server(home: Home, client: Client) -> None:
    def change() -> None:
        with unscoped():
            connection = Connection.objects.get(key=home.key, client_public_key=client.public_key)
            set_request_rate(actor=ACTOR, connection=connection, rate=RequestRate.MACHINE)

    await sync_to_async(change)()
