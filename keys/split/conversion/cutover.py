"""The moments at which something is wiped: half B here, and in the end the whole key."""

from __future__ import annotations

from django.db import transaction

from accounts.models import KeyMode
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base import crash
from keys.hsm.providers import split_provider
from keys.lifecycle import audit
from keys.lifecycle.erasure import forget_old_pages, overwritten, wipe_freed_pages
from keys.lifecycle.rows import locked_row
from keys.models import KeyState, PersonalKey
from keys.models.hsm import Conversion, ConversionStep
from keys.signing.runtime import forget_after_commit


def erase_half_b(going: Conversion) -> None:
    """The co-signer has it: from now on there is none here."""
    # Before the transaction: within one it does nothing.
    wipe_freed_pages()
    with transaction.atomic():
        overwritten(going, "half_b")
        adopted = Conversion.objects.filter(pk=going.pk, step=ConversionStep.MADE)
        adopted.update(step=ConversionStep.ADOPTED, half_b=None, half_b_kek_version="", problem="")
    forget_old_pages()


def switch(going: Conversion) -> bool:
    """Make the row a split key's in one transaction, and wipe the sealed whole; False when it was stopped meanwhile."""
    wipe_freed_pages()
    with transaction.atomic():
        row = locked_row(going.key)
        now = Conversion.objects.select_for_update().filter(pk=going.pk, step=ConversionStep.ADOPTED).first()
        # Looked at under the lock: the proof took a round trip, and meanwhile it may have been stopped or cancelled.
        if now is None or row.state != KeyState.ACTIVE or row.key_mode != KeyMode.ENCRYPTED:
            return False
        before = row.kek_provider
        # In the same transaction that makes the row a split key's: there is no moment with both, and none with
        # neither.
        overwritten(row, "encrypted_secret_key")
        _become_split(row, now)
        overwritten(now, "half_a")  # a copy of what the row has now
        now.delete()
        forget_after_commit(row.id)
        audit.write(
            row,
            AuditTag.KEY_CONVERTED,
            Actor.system("jobs"),
            asked_by=now.asked_by,
            before=f"encrypted:{before}",
            **audit.custody(row),
            public_key=row.public_key or "",
            hsm_key=row.kms_key_version,
        )
    crash.point("c-switched")
    # The pages from before the switch, with the sealed whole in them, are still in the write-ahead log.
    forget_old_pages()
    return True


def _become_split(row: PersonalKey, going: Conversion) -> None:
    # Signer A's half names its key-encryption key's provider in itself (keys.signing.half).
    row.key_mode, row.kek_provider, row.hsm_provider = KeyMode.HSM, "", split_provider()
    row.encrypted_secret_key = None
    row.encrypted_half_key, row.kek_version = going.half_a, going.half_a_kek_version
    row.cosigner_public_key, row.key_tweak = going.cosigner_public_key, going.key_tweak
    row.kms_key_name, row.kms_key_version = going.kms_key_name, going.kms_key_version
    row.authoriser_public_key = going.authoriser_public_key
    custody = ("key_mode", "kek_provider", "hsm_provider", "encrypted_secret_key", "encrypted_half_key", "kek_version")
    row.save(
        update_fields=[
            *custody,
            "cosigner_public_key",
            "key_tweak",
            "kms_key_name",
            "kms_key_version",
            "authoriser_public_key",
        ]
    )
