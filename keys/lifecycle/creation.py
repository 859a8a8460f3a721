"""Making rows for new keys, one or many; services.py decides whether, this module how."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import IntegrityError, transaction
from django_scopes import scope, scopes_disabled

from accounts.models import LockAuthority, Tenant, User
from accounts.quotas import Quota, require_room
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.tags import AuditTag
from keys import SHARDS
from keys.errors import KeyExists
from keys.lifecycle import audit
from keys.lifecycle.modes import ImportedKey, ModeBackend
from keys.lifecycle.text import clean_name
from keys.models import KeyState, PersonalKey, TransportKey
from keys.owner_seals import OWNER
from keys.refs import SecretPurpose
from keys.signing.factory import key_maker
from keys.signing.sealed_halves import SealedHalves

MAX_KEYS_A_QUERY: Final = 500


@dataclass(frozen=True, slots=True)
class WantedKey:
    """One key to be added: fresh, or with the ``secret`` given, which stays the caller's to wipe.

    Halves that a browser made are sealed for one id, and the key gets that.
    """

    user: User
    name: str
    secret: ImportedKey | None = field(default=None, repr=False)


def create_keys(actor: Actor, tenant: Tenant, backend: ModeBackend, wanted: Sequence[WantedKey]) -> list[PersonalKey]:
    """Store the wanted keys, their transport keys and their audit rows, inside the caller's transaction.

    Raises QuotaReached, and KeyExists when any is known already: nothing is stored then.
    """
    require_room(tenant, Quota.KEYS, len(wanted))
    with scope(tenant=tenant):
        keys = [_row(tenant, backend, item) for item in wanted]
        transports = [_transport(key) for key in keys]
        if _repeats(keys):
            raise KeyExists
        try:
            with transaction.atomic():
                PersonalKey.objects.bulk_create(keys)
                TransportKey.objects.bulk_create(transports)
        except IntegrityError:
            if _repeats(keys):
                raise KeyExists from None
            raise
        entries = [_entry(actor, key, transport) for key, transport in zip(keys, transports, strict=True)]
        audit.write_added(entries, keys)
    return keys


def known_public_keys(public_keys: Iterable[str]) -> set[str]:
    """Which of these (64 hex digits) are known in any tenant, as a personal or as a transport key."""
    wanted = list(public_keys)
    known: set[str] = set()
    # A public key is unique in the whole deployment.
    with scopes_disabled():
        for start in range(0, len(wanted), MAX_KEYS_A_QUERY):
            chunk = wanted[start : start + MAX_KEYS_A_QUERY]
            for model in (PersonalKey, TransportKey):
                found = model.objects.filter(public_key__in=chunk).values_list("public_key", flat=True)
                known.update(public_key for public_key in found if public_key)
    return known


def _repeats(keys: Sequence[PersonalKey]) -> bool:
    """Whether one of these is known already, or comes twice."""
    made = [key.public_key for key in keys if key.public_key]
    return len(set(made)) < len(made) or bool(known_public_keys(made))


def _row(tenant: Tenant, backend: ModeBackend, wanted: WantedKey) -> PersonalKey:
    row = PersonalKey(
        tenant=tenant,
        user=wanted.user,
        name=clean_name(wanted.name),
        key_mode=backend.key_mode,
        state=KeyState.PENDING,
        state_set_by=LockAuthority.OWNER,
        is_imported=wanted.secret is not None,
    )
    if isinstance(wanted.secret, SealedHalves):
        row.id = wanted.secret.said.key_id
    backend.fill(row, wanted.secret)
    row.owner_seal = OWNER.of(row)
    return row


def _transport(key: PersonalKey) -> TransportKey:
    row = TransportKey(tenant_id=key.tenant_id, key=key, shard=secrets.randbelow(SHARDS))
    made = key_maker().generate(
        tenant_id=key.tenant_id, row_id=row.id, parent_id=key.id, purpose=SecretPurpose.TRANSPORT_KEY
    )
    row.public_key = made.public_key
    row.encrypted_secret_key = made.sealed.blob
    row.kek_provider = made.sealed.provider
    row.kek_version = made.sealed.kek_version
    return row


def _entry(actor: Actor, key: PersonalKey, transport: TransportKey) -> AuditEntry:
    tag = AuditTag.KEY_IMPORTED if key.is_imported else AuditTag.KEY_CREATED
    if key.state == KeyState.PENDING:
        tag = AuditTag.KEY_REQUESTED
    return audit.entry(
        key,
        tag,
        actor,
        user=key.user_id.hex,
        **audit.custody(key),
        public_key=key.public_key or "",
        transport_key=transport.public_key,
    )
