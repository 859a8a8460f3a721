"""Opens stored keys and compares, signing nothing: the proof that a restored database and a key file fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django_scopes import scopes_disabled

from keys.errors import KekUnavailable, KeyDamaged
from keys.lifecycle.rows import key_ref, transport_ref
from keys.models import KeyState, PersonalKey, TransportKey
from keys.signing import signer
from keys.signing.inspection import check_personal, check_transport
from keys.signing.reports import HsmReport

KEPT_STATES = (KeyState.ACTIVE, KeyState.LOCKED, KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED)


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """A key that does not open as it should. ``kind`` is ``personal`` or ``transport``, ``cause`` an error code."""

    kind: str
    row_id: UUID
    tenant_id: UUID
    cause: str


def signer_report() -> HsmReport:
    """How whoever has the key-encryption keys looks from here: this process, or the signer."""
    return signer.report()


def opens(key: PersonalKey) -> bool:
    """Whether the stored material opens to the stored public key. Raises KekUnavailable."""
    try:
        check_personal(key_ref(key))
    except KeyDamaged:
        return False
    return True


def self_test(limit: int | None = 100) -> list[KeyProblem]:
    """The problems among ``limit`` personal keys and as many transport keys, newest first; None checks all.

    An empty list means that every key that was looked at opened to its own public key.
    """
    # The self-test opens keys of every tenant.
    with scopes_disabled():
        return [*_personal_problems(limit), *_transport_problems(limit)]


def _personal_problems(limit: int | None) -> Iterator[KeyProblem]:
    rows = PersonalKey.objects.filter(state__in=KEPT_STATES).order_by("-created_at")[:limit]
    for row in rows.iterator():
        try:
            check_personal(key_ref(row))
        except (KeyDamaged, KekUnavailable) as error:
            yield KeyProblem("personal", row.id, row.tenant_id, error.code)


def _transport_problems(limit: int | None) -> Iterator[KeyProblem]:
    rows = TransportKey.objects.filter(retired_at=None, key__state__in=KEPT_STATES).order_by("-created_at")[:limit]
    for row in rows.iterator():
        try:
            check_transport(transport_ref(row))
        except (KeyDamaged, KekUnavailable) as error:
            yield KeyProblem("transport", row.id, row.tenant_id, error.code)
