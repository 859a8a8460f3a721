"""Rows as services read them, and the references that the rest of the program gets."""

from __future__ import annotations

from operator import attrgetter

from django_scopes import scope

from keys.errors import KeyNotFound
from keys.models import Conversion, PersonalKey, TransportKey
from keys.refs import (
    HSM_REF_COLUMNS,
    KEY_REF_COLUMNS,
    TRANSPORT_REF_COLUMNS,
    HsmRef,
    KeyRef,
    TransportRef,
    key_ref_of,
    transport_ref_of,
)

_key_columns = attrgetter(*KEY_REF_COLUMNS)
_hsm_columns = attrgetter(*HSM_REF_COLUMNS)
_transport_columns = attrgetter(*TRANSPORT_REF_COLUMNS)


def locked_row(key: PersonalKey) -> PersonalKey:
    """The row as it is now, locked until the transaction ends; its tenant must be the one the caller saw."""
    with scope(tenant=key.tenant_id):
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
    return key_ref_of(key.tenant_id, key.id, _key_columns(key))


def hsm_ref(row: PersonalKey | Conversion) -> HsmRef:
    """Where the HSM keeps its part of a row that names an HSM key."""
    return HsmRef(*_hsm_columns(row))


def transport_ref(transport: TransportKey) -> TransportRef:
    """What the bunker needs to know of this row."""
    return transport_ref_of(_transport_columns(transport))
