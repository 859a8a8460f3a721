"""A suspended tenant: portal, relay, open connections and signing stop within a second; resuming brings all back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client as Browser
from websockets.exceptions import ConnectionClosed, InvalidStatus

from accounts.resolve import tenant_for_host
from accounts.services import resume_tenant, suspend_tenant
from bunker.relays.consumer import RelayConsumer
from bunker.relays.hub import RelayHub
from tests.bunker.conftest import running_worker
from tests.bunker.relays.support import CLIENT, client, served
from tests.bunker.support import ACTOR, Home, next_look
from tests.waiting import LONG

pytestmark = pytest.mark.django_db(transaction=True)
ME = CLIENT.public_key_hex


async def closed(socket: Any) -> None:
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(LONG):
            while True:
                await socket.recv()


async def test_suspending_ends_open_relay_connections_and_resuming_lets_them_back(home: Home) -> None:
    """By the poll alone, without the hint."""
    host = f"{home.tenant.slug}.localhost"
    hub = RelayHub()
    scopes = {host: home.tenant.id.hex}

    async def resolve(asked: str) -> str | None:
        found = await sync_to_async(tenant_for_host)(asked)
        return scopes.get(host) if found else None

    async with (
        running_worker(port=hub) as (worker, _),
        served(  # type: ignore[arg-type]
            hub, application=RelayConsumer.as_asgi(hub=hub, resolve_scope=resolve)
        ) as url,
    ):
        worker.reconciler.hint = lambda: None  # type: ignore[method-assign]
        async with client(url, host) as app:
            await app.subscribe(p=[ME])
            await sync_to_async(suspend_tenant)(actor=ACTOR, tenant=home.tenant)
            await next_look(worker.reconciler)
            assert home.tenant.id.hex in hub.closed
            await closed(app.socket)
        with pytest.raises(InvalidStatus):
            async with client(url, host):
                pass
        await sync_to_async(resume_tenant)(actor=ACTOR, tenant=home.tenant)
        await worker.reconciler.look()
        async with client(url, host) as app:
            await app.subscribe(p=[ME])


async def test_a_worker_that_begins_later_closes_what_was_suspended_and_opens_what_is_back(home: Home) -> None:
    hub = RelayHub()
    hub.set_closed("f" * 32, is_closed=True)
    await sync_to_async(suspend_tenant)(actor=ACTOR, tenant=home.tenant)
    async with running_worker(port=hub):  # type: ignore[arg-type]
        assert hub.closed == {home.tenant.id.hex}


async def test_the_portal_is_closed_with_the_next_request_and_open_again(home: Home) -> None:
    browser = Browser(headers={"host": f"{home.tenant.slug}.localhost"})
    paths = ("/", "/account/login/", "/keys/", "/settings/", "/static/css/keycast.css")
    await sync_to_async(suspend_tenant)(actor=ACTOR, tenant=home.tenant)
    for path in paths:
        assert (await sync_to_async(browser.get)(path)).status_code == 403
    await sync_to_async(resume_tenant)(actor=ACTOR, tenant=home.tenant)
    assert (await sync_to_async(browser.get)("/")).status_code == 200
