"""Reads signers and connections for the snapshot: two queries of plain columns, no model instances.

Only signers that somebody could speak to are read: those with a live connection, one that ended lately (so that its
client hears why), or an unused, unexpired secret. That keeps 100,000 keys with 10,000 connections small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from django.db.models import Exists, OuterRef, Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import DeploymentLock, Membership, Tenant, TenantDomain
from accounts.quotas import Quota, bound
from bunker.models import Connection, ConnectionState, RequestRate
from bunker.policy import CompiledPolicy, PolicyError, compile_policy
from bunker.services.grant_seals import SEALED_STATES, fingerprint, is_sealed
from bunker.worker.records import ConnectionRecord, SignerRecord, TenantRecord
from keycast.audit.services import chain_of
from keys.models import KeyState, TransportKey
from keys.owner_seals import is_owned_row
from keys.refs import KEY_REF_COLUMNS, TRANSPORT_REF_COLUMNS, key_ref_of, transport_ref_of

log = structlog.get_logger(__name__)

REMEMBER_ENDED = timedelta(hours=24)
CHUNK = 500

_KEY_REF_COLUMNS = tuple(f"key__{column}" for column in KEY_REF_COLUMNS)
_key_columns = itemgetter(*_KEY_REF_COLUMNS)
_transport_columns = itemgetter(*TRANSPORT_REF_COLUMNS)

_KEY_REFUSALS = {
    KeyState.LOCKED: "This key is locked.",
    KeyState.DISABLED: "This key is disabled.",
    KeyState.DESTRUCTION_SCHEDULED: "This key is about to be destroyed.",
    KeyState.DESTROYED: "This key has been destroyed.",
}
_TENANT_REFUSALS = {
    Tenant.State.LOCKED: "Signing is locked for this whole community.",
    Tenant.State.SUSPENDED: "This community is suspended.",
}
_CONNECTION_REFUSALS = {
    ConnectionState.LOCKED: "The owner has locked this app's access.",
    ConnectionState.REVOKED: "The owner has revoked this app's access.",
    ConnectionState.LOGGED_OUT: "This app has logged out. Connect again with a new bunker URL.",
    ConnectionState.LAPSED: "This bunker URL was never used in time.",
}


NOT_OWNED = "Whose key this is does not fit what this server knows. Please contact whoever runs it."
NOT_GRANTED = "This app's access does not fit what this server granted. Revoke it, and connect the app again."


class LoadedRecords:
    """What one read found: signers by transport public key, tenants by id."""

    __slots__ = ("signers", "tenants")

    def __init__(self) -> None:
        self.signers: dict[str, SignerRecord] = {}
        self.tenants: dict[UUID, TenantRecord] = {}


def load(transport_ids: Collection[UUID] | None = None) -> LoadedRecords:
    """Read everything, or the named transports alone. Blocks: call it from a thread. Raises django.db.Error."""
    loaded = LoadedRecords()
    # A worker serves signers of every tenant.
    with scopes_disabled():
        if transport_ids is None:
            _read(loaded, Q(), None)
        else:
            ids = list(transport_ids)
            for start in range(0, len(ids), CHUNK):
                chunk = ids[start : start + CHUNK]
                _read(loaded, Q(transport_id__in=chunk), chunk)
    return loaded


def built_in_hosts() -> frozenset[str]:
    """Every verified host: a relay URL on one of them with the path /relay is the built-in relay."""
    # Host names of every tenant lead to the built-in relay.
    with scopes_disabled():
        return frozenset(TenantDomain.objects.filter(verified_at__isnull=False).values_list("host", flat=True))


class _ConnectionRow(NamedTuple):
    """The columns of a connection that the snapshot is made of, in the order in which they are read."""

    id: UUID
    tenant_id: UUID
    key_id: UUID
    transport_id: UUID
    state: str
    client_public_key: str
    name: str
    expires_at: datetime | None
    use_count: int
    policy_text: str
    requested_permissions: str
    relays_text: str
    secret_expires_at: datetime | None
    ended_at: datetime | None
    secret_hash: bytes | memoryview | None
    request_rate: str
    seal: str


def _spoken_to(now: datetime) -> Q:
    live = Q(state__in=[ConnectionState.ACTIVE, ConnectionState.LOCKED])
    waiting = Q(state=ConnectionState.PENDING, secret_expires_at__gt=now)
    ended = Q(ended_at__gt=now - REMEMBER_ENDED) & ~Q(client_public_key="")
    return live | waiting | ended


def _read(loaded: LoadedRecords, chosen: Q, ids: list[UUID] | None) -> None:
    now = timezone.now()
    rows = (
        Connection.objects.filter(_spoken_to(now) & chosen)
        .annotate(policy_text=Cast("policy", TextField()), relays_text=Cast("relays", TextField()))
        .order_by()
        .values_list(*_ConnectionRow._fields)
        .iterator(chunk_size=2000)
    )
    by_transport: dict[UUID, list[_ConnectionRow]] = {}
    for row in map(_ConnectionRow._make, rows):
        by_transport.setdefault(row.transport_id, []).append(row)
    if by_transport:
        _read_signers(loaded, by_transport, ids)


def _read_signers(
    loaded: LoadedRecords, by_transport: dict[UUID, list[_ConnectionRow]], ids: list[UUID] | None
) -> None:
    transports = TransportKey.objects.filter(retired_at__isnull=True)
    if ids is not None:
        transports = transports.filter(id__in=ids)
    else:
        spoken_to = Connection.objects.filter(_spoken_to(timezone.now()), transport=OuterRef("pk"))
        transports = transports.filter(Exists(spoken_to))
    member = Membership.objects.filter(
        tenant=OuterRef("tenant"), user=OuterRef("key__user"), state=Membership.State.ACTIVE
    )
    columns = (
        *TRANSPORT_REF_COLUMNS, *_KEY_REF_COLUMNS, "shard", "tenant__state", "tenant__max_signatures",
        "tenant__max_relays", "key__state", "key__user_id", "key__owner_seal",
        "key__replaced_at", "key__user__is_active", "key__user__locked_at", "is_member",
        "is_all_locked",
    )  # fmt: skip
    rows = (
        transports.annotate(is_member=Exists(member), is_all_locked=all_locked())
        .order_by()
        .values(*columns)
        .iterator(chunk_size=2000)
    )
    policies, policies_of_replaced = _Policies(), _Policies(is_replaced=True)
    relays = _Relays()
    for row in rows:
        signer = _signer(loaded, row)
        granted = policies_of_replaced if row["key__replaced_at"] else policies
        for connection in by_transport.get(row["id"], ()):
            _add_connection(signer, connection, granted, relays)
        loaded.signers[signer.public_key] = signer


def _signer(loaded: LoadedRecords, row: dict[str, Any]) -> SignerRecord:
    tenant = loaded.tenants.get(row["tenant_id"])
    if tenant is None:
        refusal = tenant_refusal(row["tenant__state"], is_all_locked=row["is_all_locked"])
        signatures = bound(row["tenant__max_signatures"], Quota.SIGNATURES)
        relays = bound(row["tenant__max_relays"], Quota.RELAYS)
        tenant = TenantRecord(row["tenant_id"], chain_of(row["tenant_id"]), refusal, signatures, relays)
        loaded.tenants[tenant.id] = tenant
    transport = transport_ref_of(_transport_columns(row))
    key = key_ref_of(row["tenant_id"], row["key_id"], _key_columns(row))
    return SignerRecord(tenant, transport, key, row["shard"], row["key__user_id"], _refusal(row))


def all_locked() -> Exists:
    """Whether the deployment itself is locked, beside any other row."""
    return Exists(DeploymentLock.objects.filter(locked_at__isnull=False))


def tenant_refusal(state: str, *, is_all_locked: bool) -> str | None:
    """Why nothing is signed for a tenant in ``state``; None when it is active, and the deployment is not locked."""
    if is_all_locked:
        return "Signing is locked on this whole server at the moment."
    return None if state == Tenant.State.ACTIVE else _TENANT_REFUSALS.get(Tenant.State(state), "Not available.")


def _refusal(row: dict[str, Any]) -> str | None:
    if row["key__state"] != KeyState.ACTIVE or not row["key__public_key"]:
        return _KEY_REFUSALS.get(row["key__state"], "This key is not ready for use.")
    owner = (row["key_id"], row["tenant_id"], row["key__user_id"], row["key__public_key"])
    if not is_owned_row(row["key__owner_seal"], *owner):
        log.error("key_owner_not_sealed", key=row["key_id"].hex)
        return NOT_OWNED
    if not row["key__user__is_active"] or row["key__user__locked_at"] is not None:
        return "The owner's account is locked."
    return None if row["is_member"] else "The owner is not a member of this community any more."


def _add_connection(signer: SignerRecord, row: _ConnectionRow, policies: _Policies, relays: _Relays) -> None:
    if row.state in SEALED_STATES and not _is_granted(signer, row, policies):
        log.error("connection_not_sealed", connection=row.id.hex, key=row.key_id.hex)
        if row.client_public_key:
            signer.clients.setdefault(row.client_public_key, _not_granted(row))
        return
    if row.state == ConnectionState.PENDING:
        secret_until = row.secret_expires_at.timestamp() if row.secret_expires_at else 0.0
        signer.pairing_until = max(signer.pairing_until, secret_until)
        signer.pairing_relays |= frozenset(relays.get(row.relays_text))
        return
    rival = signer.clients.get(row.client_public_key)
    if rival is not None and row.ended_at is not None:  # a client's live grant, or its latest ended one, speaks for it
        return
    signer.clients[row.client_public_key] = ConnectionRecord(
        row.id,
        row.client_public_key,
        row.name,
        refusal=None if row.state == ConnectionState.ACTIVE else _CONNECTION_REFUSALS.get(ConnectionState(row.state)),
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
        policy=policies.get(row.policy_text, row.requested_permissions),
        relays=relays.get(row.relays_text),
        uses=row.use_count,
        secret_hash=None if row.secret_hash is None else bytes(row.secret_hash),
        is_machine=row.request_rate == RequestRate.MACHINE,
    )


def _is_granted(signer: SignerRecord, row: _ConnectionRow, policies: _Policies) -> bool:
    """Whether a service of ours granted it, on the key that this signer belongs to."""
    return row.key_id == signer.key.key_id and is_sealed(row, policies.fingerprint(row.policy_text))


def _not_granted(row: _ConnectionRow) -> ConnectionRecord:
    return ConnectionRecord(
        row.id,
        row.client_public_key,
        row.name,
        refusal=NOT_GRANTED,
        expires_at=None,
        policy=None,
        relays=(),
        uses=0,
    )


class _Policies:
    """Compiled policies by their text: ten thousand grants of one template share one. None stands for "deny"."""

    def __init__(self, *, is_replaced: bool = False) -> None:
        self._is_replaced = is_replaced
        self._known: dict[tuple[str, str], CompiledPolicy | None] = {}
        self._fingerprints: dict[str, str] = {}

    def fingerprint(self, text: str) -> str:
        """The document as seals have it; what is no JSON has no seal that fits."""
        found = self._fingerprints.get(text)
        if found is None:
            try:
                found = fingerprint(msgspec.json.decode(text))
            except (ValueError, RecursionError):
                found = ""
            self._fingerprints[text] = found
        return found

    def get(self, text: str, requested: str) -> CompiledPolicy | None:
        key = (text, requested)
        if key not in self._known:
            try:
                self._known[key] = compile_policy(text, requested, is_replaced=self._is_replaced)
            except PolicyError:
                log.error("policy_unreadable")
                self._known[key] = None
        return self._known[key]


class _Relays:
    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def get(self, text: str) -> tuple[str, ...]:
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = tuple(url for url in _json(text) if isinstance(url, str))
        return found


def _json(text: str) -> Iterable[Any]:
    value = msgspec.json.decode(text)
    return value if isinstance(value, list) else ()
