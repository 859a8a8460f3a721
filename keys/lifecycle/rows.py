"""Rows as verbs read them, and the references that the rest of the program gets."""

from __future__ import annotations

from django_scopes import scopes_disabled

from keys.errors import KeyNotFound
from keys.models import PersonalKey, TransportKey
from keys.refs import HsmRef, KeyRef, SealedSecret, TransportRef


def locked_row(key: PersonalKey) -> PersonalKey:
    """The row as it is now, locked until the transaction ends; its tenant must be the one the caller saw."""
    with scopes_disabled():
        found: PersonalKey | None = (
            PersonalKey.objects.select_for_update(of=("self",))
            .select_related("tenant", "user")
            .filter(pk=key.pk, tenant_id=key.tenant_id)
            .first()
        )
    if found is None:
        raise KeyNotFound
    return found


def key_ref(key: PersonalKey) -> KeyRef:
    """What a signer needs to know of this row. Raises KeyNotFound for a key without public key."""
    if not key.public_key:
        raise KeyNotFound
    return KeyRef(
        tenant_id=key.tenant_id,
        key_id=key.id,
        public_key=key.public_key,
        key_mode=key.key_mode,
        provider=key.provider,
        sealed=_sealed(key),
        hsm=_hsm(key),
    )


def transport_ref(transport: TransportKey) -> TransportRef:
    """What the bunker needs to know of this row."""
    return TransportRef(
        tenant_id=transport.tenant_id,
        transport_id=transport.id,
        key_id=transport.key_id,
        public_key=transport.public_key,
        sealed=SealedSecret(transport.kek_provider, transport.kek_version, bytes(transport.encrypted_secret_key)),
    )


def _sealed(key: PersonalKey) -> SealedSecret | None:
    blob = key.encrypted_secret_key or key.encrypted_half_key
    return SealedSecret(key.provider, key.kek_version, bytes(blob)) if blob else None


def _hsm(key: PersonalKey) -> HsmRef | None:
    if not key.kms_key_name:
        return None
    return HsmRef(key.kms_key_name, key.kms_key_version, key.kms_public_key, key.key_tweak, key.cosigner)
