"""``connect`` again and again, and by clients that fill its parameters in other ways (NIP-46)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from bunker import services
from bunker.models import Connection, PairingGuard
from bunker.worker.admission import RATE_LIMITED
from keycast.nostr.uris import NostrConnectUri
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Client, Home, issue, unscoped

AGAIN = 50
"""More than a bound client may try secrets in a row."""


async def _row_of(client: Client) -> dict[str, Any]:
    with unscoped():
        row: dict[str, Any] = await Connection.objects.values().aget(client_public_key=client.public_key)
    return row


async def test_a_bound_client_that_tries_other_secrets_is_slowed_down_and_counted(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    answers = [await client.ask("connect", home.transport.public_key, f"guess {number}") for number in range(AGAIN)]
    assert all("result" not in answer or not answer["result"] for answer in answers)
    assert answers[-1]["error"] == RATE_LIMITED
    assert (await PairingGuard.objects.aget(transport=home.transport)).failures > 5


async def test_a_client_without_a_connection_is_not_confirmed_by_a_used_secret(worker: Running, home: Home) -> None:
    _, secret = await sync_to_async(lambda: issue(home, "full"))()
    _, other = await sync_to_async(lambda: issue(home, "full"))()  # or nobody would be listened to
    await worker[0].reconciler.look()
    first, second = Client(worker[1], home.transport.public_key), Client(worker[1], home.transport.public_key)
    assert (await first.ask("connect", home.transport.public_key, secret))["result"] == "ack"
    assert "error" in await second.ask("connect", home.transport.public_key, secret)
    assert (await second.ask("connect", home.transport.public_key, other))["result"] == "ack"


async def test_a_locked_app_is_not_confirmed(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    with unscoped():
        held = await Connection.objects.aget(client_public_key=client.public_key)
        await sync_to_async(services.lock_connection)(actor=ACTOR, connection=held)
    await worker[0].reconciler.look()
    assert "error" in await client.ask("connect", home.transport.public_key)


@pytest.mark.parametrize("shows_secret", [True, False])
async def test_a_client_may_connect_before_each_of_its_commands(
    worker: Running, home: Home, *, shows_secret: bool
) -> None:
    _, secret = await sync_to_async(lambda: issue(home, "read-only"))()
    await worker[0].reconciler.look()
    client = Client(worker[1], home.transport.public_key)
    assert (await client.ask("connect", home.transport.public_key, secret))["result"] == "ack"
    before = await _row_of(client)
    for _ in range(AGAIN):
        again = [secret if shows_secret else "", "sign_event", json.dumps({"name": "Another name"})]
        assert (await client.ask("connect", home.transport.public_key, *again))["result"] == "ack"
    assert await _row_of(client) == before


async def test_a_nostrconnect_client_may_connect_with_the_secret_of_its_uri(worker: Running, home: Home) -> None:
    client = Client(worker[1], home.transport.public_key)
    relay = f"wss%3A%2F%2F{home.tenant.slug}.localhost%2Frelay"
    uri = NostrConnectUri.parse(f"nostrconnect://{client.public_key}?relay={relay}&secret=s3cr3t")
    for _ in range(2):  # the same URI again replaces the connection, and keeps its secret usable
        with unscoped():
            await sync_to_async(services.approve_nostrconnect)(actor=ACTOR, key=home.key, uri=uri, policy_slug="full")
        assert (await client.next())["result"] == "s3cr3t"
        assert (await client.ask("connect", home.transport.public_key, "s3cr3t"))["result"] == "ack"
    assert not await PairingGuard.objects.aexists()


@pytest.mark.parametrize("first", ["", "user", "client", None, 7, {}])
async def test_a_client_pairs_whatever_it_names_first(worker: Running, home: Home, first: object) -> None:
    _, secret = await sync_to_async(lambda: issue(home, "full"))()
    await worker[0].reconciler.look()
    client = Client(worker[1], home.transport.public_key)
    named = (
        {"user": home.key.public_key, "client": client.public_key}.get(first, first)
        if isinstance(first, str)
        else first
    )
    assert (await client.ask("connect", named, secret, None, {"name": "App"}))["result"] == "ack"
    assert (await client.ask("ping"))["result"] == "pong"
