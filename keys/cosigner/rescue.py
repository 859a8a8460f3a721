"""What only an operator on the co-signer's own machine may do where an HSM key is lost, with the co-signer stopped.

Put another HSM key in its place, or end a key that nobody can grant the end of. Over the wire either needs the HSM
key's signature. Here whoever can read the co-signer's database, and with it every half B, decides; the co-signer's
audit log says so.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keycast.crypto import authoriser_keys
from keys.cosigner import candidates, records
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.candidates import Candidate, CandidateStatus, ProvedBy
from keys.cosigner.store import CosignerRefusalError, CosignerStore, StoreTransaction
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.messages import RefusalCode


def replace_authoriser(path: Path, key_id: UUID, authoriser: bytes, reason: str) -> bytes:
    """Accept this HSM key (keycast.crypto.authoriser_keys) alone from now on; the one before it.

    Raises CosignerStoreInUse while a co-signer serves the file, CryptoError for what is no point, Refusal for an
    unknown key, one that was never in use, or an HSM key that is another key's.
    """
    authoriser_keys.require(authoriser)
    # The store refuses while a co-signer serves the file: it would go on with the old one from memory.
    with closing(CosignerStore(path)) as store:
        return asyncio.run(store.write(lambda writing: _replace(writing, key_id, authoriser, reason)))


def destroy_halves(path: Path, key_id: UUID, reason: str) -> None:
    """Destroy a key's halves now, without a grant and without a delay. Raises as ``replace_authoriser``."""
    with closing(CosignerStore(path)) as store:
        asyncio.run(store.write(lambda writing: _destroy(writing, key_id, reason)))


def _destroy(writing: StoreTransaction, key_id: UUID, reason: str) -> None:
    record = records.load(writing, key_id)
    if record is None or record.state == records.FORGOTTEN:
        raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
    records.forget(writing, key_id)
    data = {"reason": reason}
    writing.note(
        CosignerAuditEntry(
            CosignerAuditTag.OPERATOR_DESTROYED, AuditOutcome.OK, f"operator:{os.getuid()}", key_id.hex, data=data
        )
    )


def _replace(writing: StoreTransaction, key_id: UUID, authoriser: bytes, reason: str) -> bytes:
    record = records.load(writing, key_id)
    if record is None or record.state == records.FORGOTTEN or record.authoriser is None:
        raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
    records.settle_authoriser(writing, key_id, authoriser)
    replaced = Candidate(authoriser, CandidateStatus.ACCEPTED, ProvedBy.OPERATOR, since=authorisation.now())
    candidates.keep(writing.execute, key_id, replaced)
    data = {"before": record.authoriser.hex(), "authoriser": authoriser.hex(), "reason": reason}
    writing.note(
        CosignerAuditEntry(
            CosignerAuditTag.AUTHORISER_REPLACED, AuditOutcome.OK, f"operator:{os.getuid()}", key_id.hex, data=data
        )
    )
    return record.authoriser
