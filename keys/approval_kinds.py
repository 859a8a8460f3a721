"""What two persons decide about keys: the kinds of requests that this app brings to accounts.staff.approvals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.urls import reverse
from django_scopes import scopes_disabled

from accounts.staff.approvals.kinds import ApprovalKind, ApprovalProof, register
from accounts.staff.roles import StaffPermission
from keycast.nostr.nip19 import encode_npub
from keys.errors import KeyNotFound
from keys.hsm.inventory.services import DESTROY_ORPHAN, condemn, orphan_of
from keys.hsm.providers import hsm_of
from keys.lifecycle import states
from keys.lifecycle.states import KeyTransition
from keys.models import HsmOrphan, PersonalKey, Provider
from keys.services import DESTROY_KEY, schedule_destruction


def connect() -> None:
    """Register them; called once, when the app is ready."""
    register(
        ApprovalKind(
            slug=DESTROY_KEY,
            title="Destroy a key",
            run=_destroy,
            describe=_describe,
            permission_to_request=StaffPermission.DESTROY,
            page=lambda target_id: reverse("admin:keys_personalkey_change", args=[UUID(target_id)]),
        )
    )
    register(
        ApprovalKind(
            slug=DESTROY_ORPHAN,
            title="Destroy a key in the HSM that no row names",
            run=_condemn,
            describe=_describe_orphan,
            permission_to_request=StaffPermission.DESTROY,
            page=lambda target_id: reverse("admin:keys_hsmorphan_change", args=[UUID(target_id)]),
        )
    )


def _destroy(approval_proof: ApprovalProof) -> PersonalKey:
    key = _key(approval_proof.target_id)
    return schedule_destruction(
        actor=approval_proof.actor, key=key, reason=approval_proof.reason, approval_proof=approval_proof
    )


def _describe(target_id: str, parameters: Mapping[str, Any]) -> str:
    """Raises KeyNotFound, and InvalidTransition for a key in a state that does not allow it."""
    key = _key(target_id)
    states.after(key.state, KeyTransition.SCHEDULE_DESTRUCTION)
    name = encode_npub(key.public_key) if key.public_key else key.id.hex
    return f"Destroy the key {name} of {key.user.email} at {key.tenant.name}, for good, after the waiting time"


def _condemn(approval_proof: ApprovalProof) -> HsmOrphan:
    orphan = orphan_of(approval_proof.target_id)
    return condemn(
        actor=approval_proof.actor, orphan=orphan, reason=approval_proof.reason, approval_proof=approval_proof
    )


def _describe_orphan(target_id: str, parameters: Mapping[str, Any]) -> str:
    """Raises KeyNotFound."""
    orphan = orphan_of(target_id)
    hsm = hsm_of(orphan.provider)
    how = f", {hsm.ending}" if hsm else ""
    return f"Destroy the key {orphan.name[-120:]} in {Provider(orphan.provider).label}{how}"


def _key(target_id: str) -> PersonalKey:
    try:
        key_id = UUID(target_id)
    except ValueError:
        raise KeyNotFound from None
    # Staff name a key by its id alone.
    with scopes_disabled():
        found: PersonalKey | None = PersonalKey.objects.select_related("user", "tenant").filter(pk=key_id).first()
    if found is None:
        raise KeyNotFound
    return found
