"""A web process that runs no worker: which keys its relay serves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django_scopes import scope, scopes_disabled

from accounts.services import resume_tenant, suspend_tenant
from bunker.changes import ChangeKind, publish
from bunker.services import create_bunker_url
from bunker.worker.web import ServedDirectory, serve_relay
from keys.models import TransportKey
from tests.bunker.relays.support import make_hub
from tests.bunker.support import ACTOR, make_home
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_empty_directory_serves_no_key() -> None:
    directory = ServedDirectory()
    directory.load()
    assert not directory.serves("a" * 64)


def test_it_serves_each_key_in_its_own_tenant() -> None:
    one, two = make_home(), make_home()
    directory = ServedDirectory()
    directory.load()
    assert directory.serves(one.transport.public_key)
    assert directory.serves(one.transport.public_key, one.tenant.id.hex)
    assert not directory.serves(one.transport.public_key, two.tenant.id.hex)


def test_the_directory_serves_a_new_key_after_a_refresh() -> None:
    directory = ServedDirectory()
    directory.load()
    home = make_home()
    publish(ChangeKind.KEY, home.key.id)
    directory.look()
    assert directory.serves(home.transport.public_key, home.tenant.id.hex)
    directory.look()
    assert len(directory) == 1


def test_a_key_made_meanwhile_is_served_with_its_first_app() -> None:
    directory = ServedDirectory()
    directory.load()
    home = make_home()
    directory.look()
    assert not directory.serves(home.transport.public_key)
    with scope(tenant=home.tenant):
        create_bunker_url(actor=ACTOR, key=home.key, policy_slug="social", name="First app")
    directory.look()
    assert directory.serves(home.transport.public_key, home.tenant.id.hex)


def test_many_changes_at_once_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bunker.worker.web.IDS_A_QUERY", 2)
    directory = ServedDirectory()
    directory.load()
    homes = [make_home() for _ in range(5)]
    for home in homes:
        publish(ChangeKind.TRANSPORT, home.transport.pk)
    directory.look()
    assert all(directory.serves(home.transport.public_key, home.tenant.id.hex) for home in homes)


def test_a_full_reading_forgets_a_retired_key() -> None:
    home = make_home()
    directory = ServedDirectory()
    directory.load()
    with scopes_disabled():
        TransportKey.objects.filter(pk=home.transport.pk).update(retired_at="2026-01-01T00:00:00Z", is_current=False)
    directory.load()
    assert not directory.serves(home.transport.public_key)


async def test_it_runs_until_told_to_stop(monkeypatch: Any) -> None:
    home = await sync_to_async(make_home)()
    hub = make_hub()
    monkeypatch.setattr("bunker.worker.web.get_hub", lambda: hub)
    stop = asyncio.Event()
    task = asyncio.create_task(serve_relay(stop))
    await eventually(lambda: hub.served.serves(home.transport.public_key))
    assert hub._sink is not None
    stop.set()
    await asyncio.wait_for(task, 5)
    assert hub._sink is None


def test_it_notices_that_a_tenant_was_suspended_and_is_back() -> None:
    home = make_home()
    directory = ServedDirectory()
    directory.load()
    assert directory.closed() == {}
    suspend_tenant(actor=ACTOR, tenant=home.tenant)
    directory.look()
    assert directory.closed() == {home.tenant.id.hex: True}
    assert directory.closed() == {}
    resume_tenant(actor=ACTOR, tenant=home.tenant)
    directory.look()
    assert directory.closed() == {home.tenant.id.hex: False}


def test_a_full_load_reports_tenants_suspended_meanwhile() -> None:
    closed, open_again = make_home(), make_home()
    suspend_tenant(actor=ACTOR, tenant=closed.tenant)
    directory = ServedDirectory()
    directory.load({open_again.tenant.id.hex})
    assert directory.closed() == {closed.tenant.id.hex: True, open_again.tenant.id.hex: False}
