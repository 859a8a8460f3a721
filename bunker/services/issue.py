"""How a connection begins: a bunker URL with a one-time secret, or an approved nostrconnect:// URI (NIP-46)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.permissions import MemberPermission
from bunker import access
from bunker.errors import InvalidConnection, PolicyNotOffered, UnknownPolicy
from bunker.models import Connection, ConnectionState, RequestRate
from bunker.policy import TEMPLATES, PolicyTemplate
from bunker.services.common import (
    check_connection_limit,
    check_expiry,
    clean_name,
    relays_in_bounds,
    write_down,
)
from bunker.services.grant_seals import seal
from bunker.services.lifecycle import supersede
from bunker.services.nostrconnect_reply import store_connect_answer
from bunker.services.notices import tell_owner
from bunker.services.relay_urls import relays_for, usable_relays
from bunker.services.tenants import policies_of
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.text import one_line
from keycast.nostr.nip46 import MAX_PERMISSIONS_TEXT
from keycast.nostr.uris import BunkerUri, NostrConnectUri
from keys.access import NOT_OWNED
from keys.errors import KeyUnavailable
from keys.models import KeyState, PersonalKey, TransportKey
from keys.owner_seals import is_owned

SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class IssuedUrl:
    """A connection and its bunker URL. The URL holds the secret: show it once, store and log it never."""

    connection: Connection
    uri: str = field(repr=False)
    secret_expires_at: datetime


def hash_secret(secret: str) -> bytes:
    """What is kept of a secret. Plain SHA-256 is enough for 128 random bits (OWASP ASVS 6.5.2)."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def hash_client_secret(connection_id: UUID, secret: str) -> bytes:
    """What is kept of the secret of a ``nostrconnect://`` URI: enough for its client to show it again in ``connect``.

    The client chose it, so it may be weak, or another connection's, too. It is kept under the connection's id: no
    lookup of a bunker URL's secret finds it, and it confirms a grant that its client holds already, nothing else.
    """
    return hashlib.sha256(f"nostrconnect:{connection_id.hex}:{secret}".encode(errors="surrogatepass")).digest()


def is_secret_of(connection_id: UUID, secret_hash: bytes | None, secret: str) -> bool:
    """Whether ``secret`` is the one that this connection began with, by bunker URL or nostrconnect:// URI."""
    if secret_hash is None:
        return False
    return secret_hash in (hash_secret(secret), hash_client_secret(connection_id, secret))


@transaction.atomic
def create_bunker_url(
    *,
    actor: Actor,
    key: PersonalKey,
    policy_slug: str,
    name: str,
    expires_at: datetime | None = None,
    relays: Sequence[str] | None = None,
    secret_lifetime: timedelta | None = None,
    request_rate: RequestRate = RequestRate.PERSON,
) -> IssuedUrl:
    """Make a connection that the first client with the secret may take (NIP-46, "initiated by the client").

    ``expires_at`` ends the app's access; ``secret_lifetime`` (setting, 10 minutes) ends the chance to pair.
    Raises UnknownPolicy, PolicyNotOffered, InvalidConnection, TooManyConnections, QuotaReached, KeyUnavailable,
    NotPermitted, NotFound.
    """
    access.require(actor, MemberPermission.CONNECT_APP, key)
    template, transport = _ready(actor, key, policy_slug, expires_at)
    lifetime = secret_lifetime or timedelta(seconds=settings.BUNKER_SECRET_LIFETIME)
    secret = secrets.token_hex(SECRET_BYTES)
    connection = Connection(
        tenant_id=key.tenant_id,
        key=key,
        transport=transport,
        name=clean_name(name),
        secret_hash=hash_secret(secret),
        secret_expires_at=timezone.now() + lifetime,
        policy_slug=template.slug,
        policy=template.document,
        relays=list(relays) if relays is not None else relays_for(key.tenant),
        created_by_id=_person(actor),
        expires_at=expires_at,
        request_rate=request_rate,
    )
    _save(connection)
    write_down(connection, AuditTag.BUNKER_URL_ISSUED, actor, policy=template.slug)
    uri = BunkerUri(transport.public_key, tuple(connection.relays), secret).format()
    return IssuedUrl(connection, uri, timezone.now() + lifetime)


@transaction.atomic
def approve_nostrconnect(
    *,
    actor: Actor,
    key: PersonalKey,
    uri: NostrConnectUri,
    policy_slug: str,
    name: str = "",
    expires_at: datetime | None = None,
    request_rate: RequestRate = RequestRate.PERSON,
) -> Connection:
    """Let in the client that showed a ``nostrconnect://`` URI (NIP-46); the worker then answers with its secret.

    What the URI asks for narrows the policy; its name and addresses are shown as unverified, nothing more.
    Raises as ``create_bunker_url``.
    """
    access.require(actor, MemberPermission.CONNECT_APP, key)
    template, transport = _ready(actor, key, policy_slug, expires_at)
    relays = usable_relays(key.tenant, uri.relays)
    if not relays:
        raise InvalidConnection("This server may connect to none of the relays that the app names.", code="relays")
    relays = relays_in_bounds(key, relays)
    supersede(transport, uri.client_public_key, actor)
    metadata = {"name": one_line(uri.name, 100), "url": one_line(uri.url, 300)}
    connection_id = uuid4()
    connection = Connection(
        id=connection_id,
        secret_hash=hash_client_secret(connection_id, uri.secret),
        tenant_id=key.tenant_id,
        key=key,
        transport=transport,
        name=clean_name(name or metadata["name"] or "App"),
        state=ConnectionState.ACTIVE,
        client_public_key=uri.client_public_key,
        client_metadata={label: value for label, value in metadata.items() if value},
        requested_permissions=one_line(str(uri.permissions), 2 * MAX_PERMISSIONS_TEXT),
        bound_at=timezone.now(),
        policy_slug=template.slug,
        policy=template.document,
        relays=relays,
        created_by_id=_person(actor),
        expires_at=expires_at,
        request_rate=request_rate,
    )
    _save(connection)
    store_connect_answer(connection, transport, uri.secret)
    tell_owner(connection)
    write_down(connection, AuditTag.CONNECTION_APPROVED, actor, policy=template.slug, client=uri.client_public_key)
    return connection


def _save(connection: Connection) -> None:
    connection.seal = seal(connection, connection.policy)
    connection.save(force_insert=True)


def _ready(
    actor: Actor, key: PersonalKey, policy_slug: str, expires_at: datetime | None
) -> tuple[PolicyTemplate, TransportKey]:
    if policy_slug not in TEMPLATES:
        raise UnknownPolicy
    if actor.type == ActorType.USER and TEMPLATES[policy_slug] not in policies_of(
        key.tenant
    ):  # operators may go beyond
        raise PolicyNotOffered
    if not is_owned(key):
        raise KeyUnavailable(NOT_OWNED)
    if key.state != KeyState.ACTIVE:
        raise KeyUnavailable("This key is not active, so no app can be connected to it.")
    check_expiry(expires_at)
    check_connection_limit(key)
    transport = TransportKey.objects.filter(tenant_id=key.tenant_id, key=key, is_current=True).first()
    if transport is None:
        raise KeyUnavailable("This key has no transport key.")
    return TEMPLATES[policy_slug], transport


def _person(actor: Actor) -> str | None:
    return actor.id if actor.type in {ActorType.USER, ActorType.STAFF} else None
