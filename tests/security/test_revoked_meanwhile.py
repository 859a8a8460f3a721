"""An app is revoked while a request of its is under way: before the key is used, and while it is (threats C11)."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from bunker import services
from bunker.models import Connection
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Client, Home, unscoped


async def revoke(running: Running, home: Home, client: Client) -> None:
    """Revoked, and known to the worker."""

    def end() -> None:
        with unscoped():
            connection = Connection.objects.get(key=home.key, client_public_key=client.public_key)
            services.revoke_connection(actor=ACTOR, connection=connection)

    await sync_to_async(end)()
    await running[0].reconciler.reload([home.transport.id])


async def outcomes() -> list[str]:
    rows = AuditRow.objects.filter(tag=AuditTag.SIGN_EVENT).order_by("id")
    return [row.outcome async for row in rows]


async def test_the_key_is_not_used_for_an_app_that_was_revoked_after_its_request_was_claimed(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    parts = worker[0].engine.parts
    claim, sign = parts.ledger.claim, parts.key_requests.keys.sign_event
    used = 0

    async def claim_then_revoke(*given: Any) -> bool:
        is_ours = await claim(*given)
        await revoke(worker, home, client)
        return is_ours

    async def counted(*given: Any) -> Any:
        nonlocal used
        used += 1
        return await sign(*given)

    monkeypatch.setattr(parts.ledger, "claim", claim_then_revoke)
    monkeypatch.setattr(parts.key_requests.keys, "sign_event", counted)
    answer = await client.sign("too late")
    assert "revoked" in answer["error"]
    assert used == 0
    assert await outcomes() == [AuditOutcome.INTENT, AuditOutcome.DENIED]


async def test_a_signature_of_an_app_that_was_revoked_meanwhile_is_not_released(
    worker: Running, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connected(worker, home)
    keys = worker[0].engine.parts.key_requests.keys
    sign = keys.sign_event
    signature = ""

    async def sign_then_revoke(*given: Any) -> Any:
        nonlocal signature
        event = await sign(*given)
        signature = event.sig
        await revoke(worker, home, client)
        return event

    monkeypatch.setattr(keys, "sign_event", sign_then_revoke)
    answer = await client.sign("made, and kept")
    assert "revoked" in answer["error"]
    assert signature
    assert signature not in answer.get("result", "")
    assert worker[0].stats.refused["ended-meanwhile"] == 1
    # Nor by a later door: a message to the client that holds it, published at any time.
    assert all(signature not in str(client.read(event)) for event in worker[1].published if is_for(client, event))


def is_for(client: Client, event: Any) -> bool:
    return bool(event.tags[0][1] == client.public_key)
