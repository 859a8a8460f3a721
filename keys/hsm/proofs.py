"""Showing the co-signer that a split key's authoriser is in an HSM, and keeping what it was shown. Blocks: for jobs."""

from __future__ import annotations

from django.utils import timezone

from keys.hsm.protocol import HsmKeyManager
from keys.models import AuthoriserProof, PersonalKey
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import AuthoriserUnproven
from keys.signing.cosigning.messages import HsmProof


def register(
    row: PersonalKey, authoriser: bytes, key_name: str, keeper: HsmKeyManager, client: CosignerClient | None = None
) -> None:
    """Tell the co-signer whose authorisations hold, with the proof of the HSM that has this key. Once; repeatable.

    Raises AuthoriserUnproven, KeyExists, CosignerUnavailable and what the HSM raises.
    """
    proof = keeper.proof(key_name)
    try:
        blocking(lambda b: b.register_authoriser(row.tenant_id, row.id, authoriser, proof), client)
    except AuthoriserUnproven:
        raise AuthoriserUnproven.of(row.id, authoriser.hex()) from None
    keep(row, authoriser, proof, client)


def keep(row: PersonalKey, authoriser: bytes, proof: HsmProof, client: CosignerClient | None = None) -> None:
    """Store what the co-signer has accepted, and why it did."""
    state = blocking(lambda b: b.authoriser_state(row.tenant_id, row.id), client)
    if authoriser not in (state.authoriser, state.coming):
        return
    kind = state.proved_by if state.authoriser == authoriser else _of_successor(proof)
    AuthoriserProof.objects.update_or_create(
        key=row,
        defaults={
            "kind": kind or "nothing",
            "authoriser_public_key": authoriser.hex(),
            "kms_key_version": proof.key_version,
            "statement": proof.statement if kind == "attestation" else b"",
            "certificates": proof.certificates.decode() if kind == "attestation" else "",
            "checked_at": timezone.now(),
        },
    )


def _of_successor(proof: HsmProof) -> str:
    """A successor is never accepted without proof: what has no attestation has the operator's yes."""
    return "attestation" if proof.statement else "operator"
