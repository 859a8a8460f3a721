"""Finishes keys whose HSM part is still being made, and ends the HSM part of keys that failed or were destroyed.

The row names its HSM key before the HSM is asked for it, so nothing that a killed process leaves behind is lost track
of: each step can be repeated, and the next run begins wherever the last one ended.

::

    pending, named  -> the HSM has the key  -> it is generated -> the co-signer knows its public key -> active
    pending too long -> failed, still named -> the co-signer is to forget, its versions are destroyed -> no longer named
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scope, scopes_disabled

from accounts.models import KeyMode, LockAuthority
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keys.hsm import registration
from keys.hsm.protocol import HsmKeyManager, HsmKeyPhase, HsmKeyStatus
from keys.hsm_errors import HsmKeyUnusable
from keys.lifecycle import audit, creation, states
from keys.lifecycle.rows import locked_row
from keys.lifecycle.states import KeyTransition
from keys.models import KeyState, PersonalKey
from keys.signing.runtime import forget_after_commit

logger = logging.getLogger(__name__)

#: How long a key may be in the making. Google speaks of minutes.
LIMIT: Final = timedelta(hours=1)
MAX_PER_RUN: Final = 200
_TIMED_OUT: Final = "The HSM did not finish the key in time."
_KNOWN: Final = "The HSM made a key that is known already."
# Ten seconds in all, for the person who waits at the page. What takes longer is for the schedule.
_PAUSES: Final = (0.3, 0.7, 1.0, 2.0, 3.0, 3.0)
_ACTOR: Final = Actor.system("jobs")


@dataclass(frozen=True, slots=True)
class CosignerCallbacks:
    """Who takes part beside the HSM: the co-signer, asked to know a key's authoriser or to forget the key."""

    register: Callable[[PersonalKey, bytes], None]
    forget: Callable[[PersonalKey], None]


def finish_all() -> int:
    """Bring every pending key one step on, and end what is left of ended ones; how many keys changed."""
    # A job finishes keys of every tenant.
    with scopes_disabled():
        mine = PersonalKey.objects.filter(key_mode=KeyMode.HSM, hsm_provider__in=registration.hsm_key_managers())
        pending = list(mine.filter(state=KeyState.PENDING).values_list("pk", flat=True)[:MAX_PER_RUN])
        ended = mine.filter(state__in=[KeyState.FAILED, KeyState.DESTROYED]).exclude(kms_key_name="")
        left = list(ended.values_list("pk", flat=True)[:MAX_PER_RUN])
    return sum(finish(key_id) for key_id in pending) + sum(clean_up(key_id) for key_id in left)


def finish_with_waits(key_id: UUID) -> bool:
    """Finish one key, waiting a few seconds for the HSM; whether it is no longer pending."""
    for pause in (*_PAUSES, 0.0):
        if finish(key_id) or _row(key_id, KeyState.PENDING) is None:
            return True
        time.sleep(pause)
    return False


def finish(key_id: UUID, *, others: CosignerCallbacks | None = None) -> bool:
    """Bring one pending key as far as it goes now; whether it is active or failed by that. Never raises for the HSM."""
    row = _row(key_id, KeyState.PENDING)
    keeper = registration.hsm_key_managers().get(row.hsm_provider) if row else None
    if row is None or keeper is None:
        return False
    try:
        status = _advanced(row, keeper)
        if status.phase is HsmKeyPhase.FAILED:
            return _fail(row, status.reason)
        if status.phase is HsmKeyPhase.READY:
            # Only where the HSM's key is the Nostr key itself: a split one has had its public key from the beginning.
            if row.public_key is None and creation.known_public_keys([status.public_key[1:].hex()]):
                return _fail(row, _KNOWN)
            # The co-signer before the state: an active key that it does not know would refuse every request.
            (others or registration.cosigner_callbacks()).register(row, status.public_key)
            return _activate(row, status)
        problem = ""
    except KeycastError as error:
        problem = error.public_message
        logger.warning("pending key waits", extra={"key_id": str(row.id), "code": error.code})
    if timezone.now() - row.created_at > LIMIT:
        return _fail(row, f"{_TIMED_OUT} {problem}".strip())
    return _note(row, problem)


def clean_up(key_id: UUID, *, others: CosignerCallbacks | None = None) -> bool:
    """End the HSM part and the co-signer's half of a key that failed or was destroyed; whether that is done now."""
    row = _row(key_id, KeyState.FAILED, KeyState.DESTROYED)
    keeper = registration.hsm_key_managers().get(row.hsm_provider) if row else None
    if row is None or keeper is None or not row.kms_key_name:
        return False
    try:
        # Before the HSM's versions, which may have to sign for it. If either fails the name stays, and both are done
        # again.
        (others or registration.cosigner_callbacks()).forget(row)
        versions = keeper.versions(row.kms_key_name)
        for version in versions:
            keeper.destroy(version)
    except HsmKeyUnusable:  # still being generated: it can be destroyed once it is there
        return False
    except KeycastError as error:
        logger.warning("ended key is not cleaned up yet", extra={"key_id": str(row.id), "code": error.code})
        return False
    # The name goes last: as long as it stands, a run that was killed is found and repeated.
    return _unname(row, versions)


def _row(key_id: UUID, *expected: KeyState) -> PersonalKey | None:
    # A job names a key by its id alone.
    with scopes_disabled():
        found: PersonalKey | None = PersonalKey.objects.filter(
            pk=key_id, key_mode=KeyMode.HSM, state__in=expected
        ).first()
    return found


def _advanced(row: PersonalKey, keeper: HsmKeyManager) -> HsmKeyStatus:
    status = keeper.check(row.kms_key_name)
    if status.phase is not HsmKeyPhase.MISSING:
        return status
    keeper.create(row.kms_key_name.rpartition("/")[2])
    return keeper.check(row.kms_key_name)


def _activate(seen: PersonalKey, status: HsmKeyStatus) -> bool:
    with scope(tenant=seen.tenant_id), transaction.atomic():
        row = locked_row(seen)
        # Another process was faster.
        if row.state != KeyState.PENDING:
            return False
        row.kms_key_version = status.version
        row.authoriser_public_key = status.public_key.hex()
        row.public_key = row.public_key or status.public_key[1:].hex()  # the HSM signs with it itself
        row.state, row.state_reason = states.after(row.state, KeyTransition.FINISH), ""
        audit.save_state(row, "kms_key_version", "authoriser_public_key", "public_key")
        tag = AuditTag.KEY_IMPORTED if row.is_imported else AuditTag.KEY_CREATED
        audit.write(
            row,
            tag,
            _ACTOR,
            **audit.custody(row),
            public_key=row.public_key or "",
            hsm_key=row.kms_key_version,
        )
    return True


def _fail(seen: PersonalKey, reason: str) -> bool:
    """Failed: the halves are overwritten, the public key is free to be imported again; the HSM key is still named."""
    with scope(tenant=seen.tenant_id), transaction.atomic():
        row = locked_row(seen)
        if row.state != KeyState.PENDING:
            return False
        public_key, half = row.public_key or "", row.encrypted_half_key
        if half is not None:
            # Over the old bytes first: NULL alone would leave them in the page.
            PersonalKey.objects.filter(pk=row.pk).update(encrypted_half_key=os.urandom(len(half)))
        row.public_key, row.encrypted_half_key, row.key_tweak = None, None, ""
        row.state, row.state_reason, row.state_set_by = (
            states.after(row.state, KeyTransition.FAIL),
            reason[:200],
            LockAuthority.SYSTEM,
        )
        audit.save_state(row, "public_key", "encrypted_half_key", "key_tweak")
        forget_after_commit(row.id)
        audit.write(
            row,
            AuditTag.KEY_CREATION_FAILED,
            _ACTOR,
            AuditOutcome.FAILED,
            reason=row.state_reason,
            public_key=public_key,
            hsm_key=row.kms_key_name,
        )
    logger.error("a key could not be made", extra={"key_id": str(row.id)})
    clean_up(row.id)
    return True


def _note(seen: PersonalKey, problem: str) -> bool:
    """Show what a pending key waits for."""
    if seen.state_reason != problem:
        with scope(tenant=seen.tenant_id):
            PersonalKey.objects.filter(pk=seen.pk, state=KeyState.PENDING).update(state_reason=problem[:200])
    return False


def _unname(seen: PersonalKey, versions: list[str]) -> bool:
    with scope(tenant=seen.tenant_id), transaction.atomic():
        row = locked_row(seen)
        if not row.kms_key_name:
            return False
        name, row.kms_key_name, row.kms_key_version = row.kms_key_name, "", ""
        row.save(update_fields=["kms_key_name", "kms_key_version"])
        audit.write(row, AuditTag.HSM_KEY_DESTROYED, _ACTOR, hsm_key=name, versions=len(versions))
    return True


def enqueue(key_id: UUID) -> None:
    """Have a job finish this key soon after the present transaction; the schedule finds it if this gets lost."""
    transaction.on_commit(partial(_enqueue, key_id))


def _enqueue(key_id: UUID) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.finish_pending_key", str(key_id))
