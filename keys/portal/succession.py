"""A split key's HSM key as its owner sees it: what proves the present one, what waits, and how to refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from keys import services
from keys.errors import CustodyError
from keys.models import AuthoriserProof, PersonalKey, ProofKind, Succession, SuccessionStep
from keys.selectors import is_emulated, is_split, key_of

_WORDS = {
    ProofKind.ATTESTATION: "attested by the HSM that made it; the co-signer has checked that",
    ProofKind.OPERATOR: "said to be one by the people who run the co-signer",
    ProofKind.NOTHING: "not proved: the co-signer trusted what it was told",
}


@dataclass(frozen=True, slots=True)
class HsmKeyView:
    """What the key's page says of its HSM key."""

    version: str
    proof: str
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SuccessorView:
    """A new HSM key that can still be refused, or was."""

    version: str
    until: datetime | None
    is_refused: bool


def shown(key: PersonalKey) -> dict[str, Any]:
    """For the key's page."""
    if not is_split(key):
        return {}
    going = Succession.objects.filter(key=key, step__in=[SuccessionStep.WAITING, SuccessionStep.REFUSED]).first()
    return {"hsm_key": _view(key), "hsm_successor": _successor(going) if going else None}


def _view(key: PersonalKey) -> HsmKeyView:
    proof = AuthoriserProof.objects.filter(key=key, authoriser_public_key=key.authoriser_public_key).first()
    if proof is None:
        return HsmKeyView(key.kms_key_version, _WORDS[ProofKind.NOTHING], None)
    words = _WORDS[ProofKind(proof.kind)]
    if is_emulated(key.key_mode, key.hsm_provider) and proof.kind == ProofKind.ATTESTATION:
        words = "attested by an emulator, which proves nothing"
    return HsmKeyView(key.kms_key_version, words, proof.checked_at)


def _successor(going: Succession) -> SuccessorView:
    return SuccessorView(going.kms_key_version, going.waits_until, going.step == SuccessionStep.REFUSED)


@portal_view("POST", action=MemberPermission.MANAGE_KEY)
def refuse(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Refuse the new HSM key. It is safe, so it asks for nothing more."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    try:
        services.refuse_successor(actor=actor_of(request), key=key)
    except CustodyError as error:
        messages.error(request, error.public_message)
    else:
        messages.success(request, "The new HSM key is refused. The present one goes on authorising.")
    return redirect("keys:detail", key.id)
