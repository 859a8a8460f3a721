"""Has a user's HSM key sign for one use of the co-signer."""

from __future__ import annotations

from uuid import UUID

from keys.refs import HsmRef
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.protocol import Authoriser


async def granted(
    authoriser: Authoriser, hsm: HsmRef, tenant_id: UUID, key_id: UUID, purpose: AuthorisationPurpose, subject: bytes
) -> UseAuthorisation:
    """A fresh authorisation: one HSM operation. Raises what ``authoriser`` raises."""
    at, salt = authorisation.fresh()
    digest = authorisation.digest(purpose, tenant_id, key_id, subject, at, salt)
    return UseAuthorisation(at, salt, await authoriser.authorise(hsm, digest))
