"""Brings a conversion on, step by step. For jobs and commands; blocks."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scope

from accounts.models import KeyMode, Tenant
from accounts.panic.selectors import deployment_lock
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditOutcome
from keycast.base import crash
from keycast.base.errors import KeycastError
from keys.hsm import proofs
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm.providers import split_provider
from keys.lifecycle.rows import hsm_ref, locked_row
from keys.models import KeyState, PersonalKey
from keys.models.hsm import Conversion, ConversionStep
from keys.refs import KeyRef, SealedSecret
from keys.signing.cosigning.trial_event import trial_event
from keys.signing.factory import key_maker
from keys.signing.half import SealedHalf
from keys.signing.protocol import SplitKey
from keys.signing.runtime import signing_service
from keys.split.conversion import cleanup, cutover, services
from keys.split.conversion.lease import conversion_lease

logger = logging.getLogger(__name__)

LIMIT: Final = timedelta(hours=1)
MAX_PER_RUN: Final = 100
_PAUSES: Final = (0.3, 0.7, 1.0, 2.0, 3.0, 3.0, 0.0)
_ACTOR: Final = Actor.system("jobs")
_NOT_IN_USE: Final = "The key is not in use; the move goes on when it is again."
_TIMED_OUT: Final = "It could not be finished in time."
_ENDED: Final = "The key was given up."


def advance_all() -> int:
    """Bring every conversion one step on; how many ended."""
    waiting = Conversion.objects.exclude(step=ConversionStep.FAILED).values_list("key_id", flat=True)
    return sum(advance(key_id) for key_id in list(waiting[:MAX_PER_RUN]))


def advance_with_waits(key_id: UUID) -> bool:
    """Bring one on, waiting a few seconds for the HSM; whether it has ended."""
    for pause in _PAUSES:
        if advance(key_id):
            return True
        time.sleep(pause)
    return False


def advance(key_id: UUID) -> bool:
    """Bring one conversion as far as it goes now; whether it has ended. Never raises for the HSM or the co-signer."""
    with conversion_lease(key_id) as going:
        if going is not None:
            with scope(tenant=going.key.tenant_id):
                _clean_or_advance(going)
    return not Conversion.objects.exclude(step=ConversionStep.FAILED).filter(key_id=key_id).exists()


def _clean_or_advance(going: Conversion) -> None:
    if going.step == ConversionStep.CANCELLED:
        cleanup.clean(going)
    elif going.step != ConversionStep.FAILED:
        _advance(going)


def _advance(going: Conversion) -> None:
    key = going.key
    state = key.state
    # What is on its way out is not moved any more; a locked key may come back, so it only waits.
    if state in {KeyState.DESTRUCTION_SCHEDULED, KeyState.DESTROYED}:
        return _fail(going, _ENDED)
    problem = _NOT_IN_USE if state != KeyState.ACTIVE or is_stopped(key) else _attempt(going)
    if problem is None or going.step == ConversionStep.CANCELLED:
        return None
    # Counted while the key is stopped, too: a key that waits half converted for days would hold its halves for days.
    if timezone.now() - going.started_at > LIMIT:
        return _fail(going, f"{_TIMED_OUT} {problem}".strip())
    Conversion.objects.filter(pk=going.pk, step=going.step).update(problem=problem[:200])
    return None


def is_stopped(key: PersonalKey) -> bool:
    """Whether nothing may be signed with it because of what is above it: then nothing is proven either."""
    above = key.tenant.state != Tenant.State.ACTIVE or key.user.locked_at is not None
    return above or deployment_lock().locked_at is not None


def _attempt(going: Conversion) -> str | None:
    """What it waits for, in plain words; None when it has ended."""
    try:
        # No elif: a step that succeeds leads on to the next at once, and one that finds the conversion cancelled sets
        # the step so that nothing below is done.
        if going.step == ConversionStep.SPLIT:
            _make(going)
        if going.step == ConversionStep.MADE:
            _hand_over(going)
        if going.step == ConversionStep.ADOPTED:
            _prove(going)
            cutover.switch(going)
            return None
    except KeycastError as error:
        logger.warning("a conversion waits", extra={"key_id": str(going.pk), "code": error.code})
        return error.public_message
    return ""


def _make(going: Conversion) -> None:
    """Have the HSM make its key. One that cannot be made ends the conversion."""
    keeper = cleanup.keeper_of(split_provider())
    status = keeper.check(going.kms_key_name)
    if status.phase is HsmKeyPhase.MISSING:
        keeper.create(going.kms_key_name.rpartition("/")[2])
        crash.point("c-created")
        status = keeper.check(going.kms_key_name)
    if status.phase is HsmKeyPhase.FAILED:
        _fail(going, status.reason)
        going.step = ConversionStep.CANCELLED
    elif status.phase is HsmKeyPhase.READY:
        made = {"kms_key_version": status.version, "authoriser_public_key": status.public_key.hex()}
        _store_step(going, ConversionStep.MADE, **made)
        crash.point("c-made")


def _hand_over(going: Conversion) -> None:
    """Give half B to the co-signer; our copy of it is wiped then."""
    key = going.key
    key_maker().hand_over(_split_of(going), tenant_id=key.tenant_id, key_id=key.id, public_key=key.public_key or "")
    crash.point("c-handed-over")
    # Not before the co-signer has it on disk, which its reply says: until then ours is the only copy.
    cutover.erase_half_b(going)
    going.step, going.half_b = ConversionStep.ADOPTED, None
    crash.point("c-adopted")


def _prove(going: Conversion) -> None:
    """Sign once in the new way. The signing service releases only what verifies under the key's own public key."""
    key = going.key
    authoriser = bytes.fromhex(going.authoriser_public_key)
    proofs.register(key, authoriser, going.kms_key_name, cleanup.keeper_of(split_provider()))
    crash.point("c-registered")
    ref = _ref_of(going)
    asyncio.run(signing_service().sign_event(ref, trial_event(ref.public_key)))
    # The row still says that this key is whole: its half is not to stay open under that name.
    signing_service().forget(key.id)
    crash.point("c-proven")


def _store_step(going: Conversion, step: ConversionStep, **fields: str) -> None:
    """Store a step; one that was cancelled meanwhile stays so."""
    if not Conversion.objects.filter(pk=going.pk, step=going.step).update(step=step, problem="", **fields):
        going.step = ConversionStep.CANCELLED
        return
    going.step = step
    for name, value in fields.items():
        setattr(going, name, value)


def _fail(going: Conversion, reason: str) -> None:
    with transaction.atomic():
        row = locked_row(going.key)
        now = Conversion.objects.select_for_update().filter(pk=going.pk).first()
        if now is not None and now.step not in {ConversionStep.CANCELLED, ConversionStep.FAILED}:
            services.end_conversion(row, now, _ACTOR, reason, AuditOutcome.FAILED)


def _split_of(going: Conversion) -> SplitKey:
    a = SealedHalf.unpack(going.half_a, going.half_a_kek_version)
    b = SealedHalf.unpack(going.half_b, going.half_b_kek_version)
    return SplitKey(a.public, a.sealed, b.public, b.sealed, bytes.fromhex(going.key_tweak))


def _ref_of(going: Conversion) -> KeyRef:
    """The key as it will be."""
    key: PersonalKey = going.key
    sealed = SealedSecret.stored("", going.half_a_kek_version, going.half_a)
    return KeyRef(
        key.tenant_id, key.id, key.public_key or "", KeyMode.HSM.value, split_provider(), sealed, hsm_ref(going)
    )
