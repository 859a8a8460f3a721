"""Another HSM key authorises for a split key; the Nostr key and its halves stay. May be killed anywhere.

::

    signer A                                     elsewhere
    named: the new HSM key's name on disk
                            -- create -->        the HSM makes it
    made: its version and public key on disk
                            -- succeed -->       the co-signer knows of it: the old one has signed for it, and its HSM's
                                                 attestation, or the co-signer's operator, says that it is one
    waiting: until the day that the co-signer named; the owner and staff are told, and may refuse
        (refused            -- refuse -->        the co-signer never accepts it; its version in Cloud KMS is destroyed)
                            -- succeed -->       the co-signer accepts both
    accepted; the new one has signed once, so that it works is known
    switched: the row names the new one
                            -- settle -->        the co-signer accepts the new one alone
                            -- disable -->       the old version in the HSM: not destroyed, an operator decides that
    (done: the succession is forgotten)

Both authorise until every process of signer A has heard of the switch. Never at one time with a refresh of the halves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from django_scopes import scope

from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base import crash
from keycast.base.errors import KeycastError
from keys import access
from keys.errors import NoCapability
from keys.hsm import proofs
from keys.hsm.protocol import HsmKeyManager, HsmKeyPhase
from keys.hsm.providers import new_key_name
from keys.hsm_errors import HsmKeyUnusable
from keys.lifecycle import audit
from keys.lifecycle.rows import locked_row
from keys.lifecycle.states import require_active
from keys.models import HalfRefresh, KeyState, PersonalKey
from keys.models.hsm import Succession, SuccessionStep
from keys.refs import HsmRef
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import (
    AuthoriserUnproven,
    ChangeUnderWay,
    CosignerRefused,
    HsmKeyPending,
    HsmKeyRefused,
    NothingToRefuse,
    SuccessorNotAuthorised,
    SuccessorRefused,
    SuccessorWaits,
)
from keys.signing.protocol import Authoriser
from keys.split import notices
from keys.split.halves import granted

logger = logging.getLogger(__name__)
GRACE: Final = timedelta(minutes=5)
"""How long both authorise after the switch: far longer than any process takes to hear of it."""
_NOT_ASKED_FOR: Final = UseAuthorisation(bytes(16), bytes(16), bytes(64))
"""The present HSM key has signed when the successor was announced."""
_ENDED: Final = (KeyState.DESTROYED, KeyState.FAILED)


def succeed(
    *,
    actor: Actor,
    key: PersonalKey,
    authoriser: Authoriser,
    keeper: HsmKeyManager,
    client: CosignerClient | None = None,
) -> None:
    """Have a new HSM key authorise; resumes a succession that was broken off. ``finish_due`` ends it later.

    Raises NotPermitted, NoCapability, KeyUnavailable, HsmKeyPending while the HSM takes its time, HsmKeyRefused,
    SuccessorNotAuthorised when the present key is lost, SuccessorWaits until the co-signer's delay is over,
    SuccessorRefused, AuthoriserUnproven, ChangeUnderWay, CosignerUnavailable and what the HSM raises; the key stays
    usable whatever happens.
    """
    going = _begin(actor, key)
    crash.point("s-named")
    if going.step == SuccessionStep.NAMED:
        _make(going, keeper)
        crash.point("s-made")
    if going.step in {SuccessionStep.MADE, SuccessionStep.WAITING}:
        _accept(going, authoriser, keeper, client)
        crash.point("s-accepted")
    if going.step == SuccessionStep.REFUSED:
        _end_refused(going, keeper, client)
        raise SuccessorRefused
    if going.step == SuccessionStep.ACCEPTED:
        # Tried before anything depends on it: a key that exists and cannot sign would stop every use after the switch.
        new = HsmRef(going.kms_key_name, going.kms_key_version, going.authoriser_public_key)
        blocking(lambda _: authoriser.authorise(new, os.urandom(32)), client)  # or what it raises: it works
        _switch(actor, going)
        crash.point("s-switched")


def resume(
    authorisers: Callable[[str], Authoriser],
    keeper: HsmKeyManager,
    client: CosignerClient | None = None,
    *,
    provider: str = "google",
) -> int:
    """Go on with every succession of a provider that was broken off before its switch; returns how many switched.

    For a job. ``keeper`` is that provider's.
    """
    waiting = Succession.objects.exclude(step=SuccessionStep.SWITCHED).exclude(key__state__in=_ENDED)
    waiting = waiting.filter(key__hsm_provider=provider)
    keys = [going.key for going in waiting.exclude(step=SuccessionStep.REFUSED).select_related("key")]
    for going in waiting.filter(step=SuccessionStep.REFUSED):  # whatever state the key is in
        _try_to_end(going, keeper, client)
    return sum(_attempt(key, authorisers(key.hsm_provider), keeper, client) for key in keys)


def _try_to_end(going: Succession, keeper: HsmKeyManager, client: CosignerClient | None) -> None:
    try:
        _end_refused(going, keeper, client)
    except KeycastError as error:
        logger.warning("a refused HSM key waits for its end", extra={"key_id": str(going.pk), "code": error.code})
        Succession.objects.filter(pk=going.pk).update(problem=error.public_message[:200])


def _attempt(key: PersonalKey, authoriser: Authoriser, keeper: HsmKeyManager, client: CosignerClient | None) -> bool:
    """One that cannot go on now (its key locked, the HSM away) holds up no other."""
    try:
        with scope(tenant=key.tenant_id):
            succeed(actor=Actor.system("jobs"), key=key, authoriser=authoriser, keeper=keeper, client=client)
    except (SuccessorWaits, SuccessorRefused):
        return False  # as it should be; the row says so
    except KeycastError as error:
        logger.warning("a new HSM key waits", extra={"key_id": str(key.id), "code": error.code})
        Succession.objects.filter(key=key).update(problem=error.public_message[:200])
        return False
    return True


def finish_due(
    keeper: HsmKeyManager,
    now: datetime | None = None,
    client: CosignerClient | None = None,
    *,
    provider: str = "google",
) -> int:
    """End the old HSM key of every succession of a provider that switched long enough ago; returns how many.

    For a job. ``keeper`` is that provider's.
    """
    before = (now or timezone.now()) - GRACE
    found = Succession.objects.select_related("key").filter(key__hsm_provider=provider)
    ended = list(found.filter(key__state__in=_ENDED))
    due = list(found.filter(step=SuccessionStep.SWITCHED, switched_at__lte=before).exclude(key__state__in=_ENDED))
    return sum(_finish(going, keeper, client) for going in due) + sum(_clear(going, keeper) for going in ended)


@transaction.atomic
def _begin(actor: Actor, key: PersonalKey) -> Succession:
    row = locked_row(key)
    access.require_manager(actor, row)
    require_active(row.state)
    going = Succession.objects.filter(key=row).first()
    if going is not None:
        return going
    if not row.cosigner_public_key:
        raise NoCapability("Only a split key has an HSM key that can be replaced.")
    # As in a refresh: one change of a key at a time.
    if HalfRefresh.objects.filter(key=row).exists():
        raise ChangeUnderWay
    return Succession.objects.create(
        key=row,
        old_version=row.kms_key_version,
        old_public_key=row.authoriser_public_key,
        kms_key_name=new_key_name(row.hsm_provider, row.tenant_id),
    )


def _make(going: Succession, keeper: HsmKeyManager) -> None:
    status = keeper.check(going.kms_key_name)
    if status.phase is HsmKeyPhase.MISSING:
        keeper.create(going.kms_key_name.rpartition("/")[2])
        status = keeper.check(going.kms_key_name)
    if status.phase is HsmKeyPhase.FAILED:
        for version in keeper.versions(going.kms_key_name):
            keeper.destroy(version)
        going.delete()
        raise HsmKeyRefused(status.reason)
    if status.phase is not HsmKeyPhase.READY:
        raise HsmKeyPending
    _reach(going, SuccessionStep.MADE, kms_key_version=status.version, authoriser_public_key=status.public_key.hex())


def _accept(going: Succession, authoriser: Authoriser, keeper: HsmKeyManager, client: CosignerClient | None) -> None:
    row, new = going.key, bytes.fromhex(going.authoriser_public_key)
    is_announced = going.step == SuccessionStep.WAITING
    if is_announced and going.waits_until is not None and timezone.now() < going.waits_until:
        raise _waits(going)
    proof = keeper.proof(going.kms_key_name)

    async def ask(b: CosignerClient) -> int:
        present, coming = await b.authorisers(row.tenant_id, row.id)
        if new in (present, coming):
            return 0  # told before, or put there by an operator on the co-signer's machine
        if is_announced:
            return await b.succeed_authoriser(row.tenant_id, row.id, new, _NOT_ASKED_FOR)
        subject = authorisation.succession(present, new)
        try:
            grant = await granted(b, row, authoriser, AuthorisationPurpose.SUCCEED, subject)
        except HsmKeyUnusable:
            raise SuccessorNotAuthorised.of(row.id, going.authoriser_public_key) from None
        return await b.succeed_authoriser(row.tenant_id, row.id, new, grant, proof)

    try:
        until = blocking(ask, client)
    except SuccessorRefused:
        _reach(going, SuccessionStep.REFUSED)
        return
    except (CosignerRefused, AuthoriserUnproven) as error:
        if is_announced:
            _reach(going, SuccessionStep.MADE)  # the co-signer does not know of it any more: a restored database, say
        if isinstance(error, AuthoriserUnproven):
            raise AuthoriserUnproven.of(row.id, going.authoriser_public_key) from None
        raise
    crash.point("s-told")
    if until:
        _wait(going, until)
        raise _waits(going)
    proofs.keep(row, new, proof, client)
    _reach(going, SuccessionStep.ACCEPTED)


def _wait(going: Succession, until: int) -> None:
    """Announced: whoever may refuse is told, once."""
    waits_until = datetime.fromtimestamp(until / 1000, UTC)
    with transaction.atomic():
        row = locked_row(going.key)
        mine = Succession.objects.filter(pk=going.pk, step=going.step, kms_key_name=going.kms_key_name)
        is_new = going.step != SuccessionStep.WAITING
        changed = mine.update(step=SuccessionStep.WAITING, waits_until=waits_until, problem="")
        if changed and is_new:
            audit.write(row, AuditTag.HSM_KEY_ANNOUNCED, Actor.system("jobs"), hsm_key=going.kms_key_version)
            notices.tell_of_successor(row, waits_until)
    going.step, going.waits_until = SuccessionStep.WAITING, waits_until


def _waits(going: Succession) -> SuccessorWaits:
    assert going.waits_until is not None  # noqa: S101 -- set with the step
    return SuccessorWaits(f"{SuccessorWaits.public_message} It will on {going.waits_until:%Y-%m-%d %H:%M} UTC.")


@transaction.atomic
def refuse(*, actor: Actor, key: PersonalKey, reason: str = "") -> None:
    """Refuse the HSM key that waits to take the place of the present one, for ever.

    A job tells the co-signer, and ends the new key. Raises NotPermitted, NothingToRefuse.
    """
    row = locked_row(key)
    access.require_manager(actor, row)
    waiting = Succession.objects.select_for_update().filter(
        key=row, step__in=[SuccessionStep.MADE, SuccessionStep.WAITING]
    )
    going = waiting.first()
    if going is None:
        raise NothingToRefuse
    going.step, going.problem = SuccessionStep.REFUSED, ""
    going.save(update_fields=["step", "problem"])
    audit.write(row, AuditTag.HSM_KEY_REFUSED, actor, hsm_key=going.kms_key_version, reason=reason)


def _end_refused(going: Succession, keeper: HsmKeyManager, client: CosignerClient | None) -> None:
    """The co-signer first: once it knows, nobody can have it accepted."""
    key, refused = going.key, bytes.fromhex(going.authoriser_public_key)
    blocking(lambda b: b.refuse_authoriser(key.tenant_id, key.id, refused), client)
    crash.point("s-refused")
    for version in keeper.versions(going.kms_key_name):
        keeper.destroy(version)
    Succession.objects.filter(pk=going.pk, step=SuccessionStep.REFUSED).delete()


def _switch(actor: Actor, going: Succession) -> None:
    with transaction.atomic():
        row = locked_row(going.key)
        accepted = Succession.objects.select_for_update().filter(pk=going.pk, step=SuccessionStep.ACCEPTED)
        found = accepted.filter(kms_key_name=going.kms_key_name).first()
        if found is None:
            return  # another process was faster
        row.kms_key_name, row.kms_key_version = found.kms_key_name, found.kms_key_version
        row.authoriser_public_key, row.authoriser_since = found.authoriser_public_key, timezone.now()
        row.save(update_fields=["kms_key_name", "kms_key_version", "authoriser_public_key", "authoriser_since"])
        found.step, found.switched_at = SuccessionStep.SWITCHED, timezone.now()
        found.save(update_fields=["step", "switched_at"])
        audit.write(row, AuditTag.HSM_KEY_REPLACED, actor, before=found.old_version, hsm_key=row.kms_key_version)


def _finish(going: Succession, keeper: HsmKeyManager, client: CosignerClient | None) -> bool:
    key, new = going.key, bytes.fromhex(going.authoriser_public_key)
    try:
        blocking(lambda b: b.settle_authoriser(key.tenant_id, key.id, new), client)
        crash.point("s-settled")
        _disable(keeper, going.old_version)
    except KeycastError as error:
        logger.warning("an old HSM key waits for its end", extra={"key_id": str(key.id), "code": error.code})
        return False
    crash.point("s-disabled")
    with transaction.atomic():
        row = locked_row(key)
        gone, _ = Succession.objects.filter(pk=going.pk, step=SuccessionStep.SWITCHED).delete()
        if gone:
            audit.write(row, AuditTag.HSM_KEY_DISABLED, Actor.system("jobs"), hsm_key=going.old_version)
    return bool(gone)


def _disable(keeper: HsmKeyManager, version: str) -> None:
    try:
        keeper.disable(version)
    except HsmKeyUnusable:
        logger.info("the old HSM key was gone already")  # destroyed, or scheduled for it
    except NoCapability:
        logger.info("the old HSM key stays enabled: this HSM cannot disable one")  # the co-signer accepts it no more


def _clear(going: Succession, keeper: HsmKeyManager) -> bool:
    """The key itself has ended: what its row does not name any more, or does not name yet, ends with it."""
    unnamed = [going.old_version] if going.step == SuccessionStep.SWITCHED else keeper.versions(going.kms_key_name)
    try:
        for version in unnamed:
            keeper.destroy(version)
    except KeycastError as error:
        logger.warning("an HSM key is not cleaned up yet", extra={"key_id": str(going.pk), "code": error.code})
        return False
    going.delete()
    return True


def _reach(going: Succession, step: SuccessionStep, **fields: str) -> None:
    Succession.objects.filter(pk=going.pk, step=going.step, kms_key_name=going.kms_key_name).update(step=step, **fields)
    going.step = step
    for name, value in fields.items():
        setattr(going, name, value)
