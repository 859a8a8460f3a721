"""The first message to a client that showed a ``nostrconnect://`` URI: its own secret back (NIP-46).

It is composed here and stored as a reply that a worker has yet to publish, already encrypted for the client: the
URI's secret is never at rest in clear, and a restart or a relay that is down delays the answer but does not lose it.
"""

from __future__ import annotations

import hashlib
import secrets
import time

from asgiref.sync import async_to_sync

from bunker.models import Connection, Request, RequestState
from bunker.selectors import connect_answer_id
from keycast.nostr.nip01 import Event, UnsignedEvent, event_id, serialize
from keycast.nostr.nip46 import KIND, Nip46Response
from keys.models import TransportKey
from keys.refs import TransportRef
from keys.selectors import transport_ref
from keys.services import transport_service

# As long as any request is remembered: until then the app's page says whether a relay took the answer.
ANSWER_LIFETIME_MS = 24 * 3600 * 1000


def store_connect_answer(connection: Connection, transport: TransportKey, secret: str) -> None:
    """Leave the encrypted, signed ``connect`` answer for the worker that serves this signer."""
    inner = Nip46Response.ok(secrets.token_hex(8), secret).to_text()
    reply = async_to_sync(_compose)(transport_ref(transport), connection.client_public_key, inner)
    now = time.time_ns() // 1_000_000
    Request.objects.create(
        event_id=reply.id,
        tenant_id=connection.tenant_id,
        transport_id=transport.id,
        connection_id=connection.id,
        client_public_key=connection.client_public_key,
        request_id=connect_answer_id(connection.id),
        body_hash=hashlib.sha256(connection.id.bytes).digest(),
        method="connect",
        shard=transport.shard,
        fence=0,
        state=RequestState.ANSWERED,
        event="",
        reply=serialize(reply).decode(),
        claimed_at=now,
        expires_at=now + ANSWER_LIFETIME_MS,
    )


async def _compose(ref: TransportRef, client: str, inner: str) -> Event:
    opened = await transport_service().open(ref)
    tags = [["p", client]]
    draft = UnsignedEvent(
        pubkey=ref.public_key,
        created_at=int(time.time()),
        kind=KIND,
        tags=tags,
        content=opened.encrypt(client, inner),
    )
    identifier = event_id(draft.pubkey, draft.created_at, draft.kind, draft.tags, draft.content)
    signature = opened.sign(bytes.fromhex(identifier))
    return Event(
        id=identifier,
        pubkey=draft.pubkey,
        created_at=draft.created_at,
        kind=draft.kind,
        tags=draft.tags,
        content=draft.content,
        sig=signature.hex(),
    )
