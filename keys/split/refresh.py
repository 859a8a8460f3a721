"""Fresh halves under the same public key: a state machine in two databases that may be killed anywhere.

::

    signer A                                 co-signer
    drawn: new half A on disk
                          -- prepare -->     new half B on disk (prepared); answers its difference
    agreed: half B, tweak on disk
                          -- commit -->      old and new halves both sign (ready)
    switched: the row has the new half
                          -- finish -->      the old half is destroyed
    (done: the refresh is forgotten)

The old halves sign until both sides are ready, and both pairs sign until every process of signer A has seen the switch.
Each step may be repeated. The two differences exist in memory alone: with one of them, an old half would still be good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scope

from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base import crash
from keycast.base.errors import KeycastError
from keys import access
from keys.errors import KeyDamaged, NoCapability
from keys.lifecycle import audit
from keys.lifecycle.rows import key_ref, locked_row
from keys.lifecycle.states import require_active
from keys.models import HalfRefresh, PersonalKey, RefreshStep
from keys.models.hsm import Succession
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import ChangeUnderWay
from keys.signing.half import SealedHalf
from keys.signing.protocol import Authoriser
from keys.signing.runtime import forget_after_commit
from keys.split.halves import granted, maker_for

logger = logging.getLogger(__name__)
GRACE: Final = timedelta(minutes=5)
"""How long old halves stay after the switch: far longer than any process takes to hear of it."""


def refresh(*, actor: Actor, key: PersonalKey, authoriser: Authoriser, client: CosignerClient | None = None) -> None:
    """Put fresh halves of a split key into use; resumes one that was broken off. ``finish_due`` ends it later.

    One HSM operation. Raises NotPermitted, NoCapability, KeyUnavailable, KekUnavailable, CosignerUnavailable and what
    the HSM raises; the key stays usable whatever happens.
    """
    going = _begin(actor, key, client)
    crash.point("a-drawn")
    if going.step == RefreshStep.DRAWN:
        _agree(going, authoriser, client)
        crash.point("a-agreed")
    if going.step == RefreshStep.AGREED:
        tenant_id, new_half, tweak = key.tenant_id, bytes.fromhex(going.new_half), bytes.fromhex(going.key_tweak)
        blocking(lambda b: b.commit_refresh(tenant_id, going.key_id, new_half, tweak), client)
        crash.point("a-committed")
        _switch(actor, going)
        crash.point("a-switched")


def resume(authorisers: Callable[[str], Authoriser], client: CosignerClient | None = None) -> int:
    """Go on with every refresh that was broken off before its switch; returns how many switched. For a job."""
    waiting = HalfRefresh.objects.exclude(step=RefreshStep.SWITCHED).select_related("key")
    keys = [going.key for going in waiting]
    return sum(_attempt(key, authorisers, client) for key in keys)


def _attempt(key: PersonalKey, authorisers: Callable[[str], Authoriser], client: CosignerClient | None) -> bool:
    """One that cannot go on now (its key locked, the HSM away) holds up no other."""
    try:
        with scope(tenant=key.tenant_id):
            refresh(actor=Actor.system("jobs"), key=key, authoriser=authorisers(key.hsm_provider), client=client)
    except KeycastError as error:
        logger.warning("a refresh waits", extra={"key_id": str(key.id), "code": error.code})
        return False
    return True


def finish_due(now: datetime | None = None, client: CosignerClient | None = None) -> int:
    """Destroy the old halves of every refresh that switched long enough ago; returns how many. For a job."""
    before = (now or timezone.now()) - GRACE
    # Not at once: a process that still has the old half open would be refused by the co-signer.
    due = HalfRefresh.objects.filter(step=RefreshStep.SWITCHED, switched_at__lte=before)
    found = list(due.values_list("key_id", "key__tenant_id", "new_half"))
    return sum(_finish(key_id, tenant_id, bytes.fromhex(new_half), client) for key_id, tenant_id, new_half in found)


def _finish(key_id: UUID, tenant_id: UUID, new_half: bytes, client: CosignerClient | None) -> bool:
    try:
        blocking(lambda b: b.finish_refresh(tenant_id, key_id, new_half), client)
    except KeycastError as error:
        logger.warning("old halves wait for their end", extra={"key_id": str(key_id), "code": error.code})
        return False
    crash.point("a-finished")
    HalfRefresh.objects.filter(key_id=key_id, step=RefreshStep.SWITCHED, new_half=new_half.hex()).delete()
    return True


@transaction.atomic
def _begin(actor: Actor, key: PersonalKey, client: CosignerClient | None) -> HalfRefresh:
    row = locked_row(key)
    access.require_manager(actor, row)
    require_active(row.state)
    going = HalfRefresh.objects.filter(key=row).first()
    if going is not None:
        return going
    if not row.cosigner_public_key:
        raise NoCapability("Only a split key has halves to refresh.")
    # One change of a key at a time, as the co-signer has it too.
    if Succession.objects.filter(key=row).exists():
        raise ChangeUnderWay
    half = maker_for(client).draw_half(tenant_id=row.tenant_id, key_id=row.id)
    return HalfRefresh.objects.create(
        key=row,
        old_half=_half_of(row).public.hex(),
        new_half=half.public.hex(),
        encrypted_half_key=half.pack(),
        kek_version=half.sealed.kek_version,
    )


def _agree(going: HalfRefresh, authoriser: Authoriser, client: CosignerClient | None) -> None:
    """Opening halves is the signer's business; the two differences stay with it and with the co-signer."""
    row, new = going.key, _new_half_of(going)
    grant = blocking(lambda b: granted(b, row, authoriser, AuthorisationPurpose.REFRESH, new.public), client)
    half_b, tweak = maker_for(client).agree(key_ref(row), new, grant)
    going.cosigner_public_key, going.key_tweak, going.step = half_b.hex(), tweak.hex(), RefreshStep.AGREED
    changed = HalfRefresh.objects.filter(pk=going.pk, step=RefreshStep.DRAWN, new_half=going.new_half)
    changed.update(cosigner_public_key=going.cosigner_public_key, key_tweak=going.key_tweak, step=going.step)


def _switch(actor: Actor, going: HalfRefresh) -> None:
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")  # the old half's cell must not keep it
    with transaction.atomic():
        row = locked_row(going.key)
        found = HalfRefresh.objects.select_for_update().filter(pk=going.pk, new_half=going.new_half).first()
        if found is None or found.step != RefreshStep.AGREED:
            return  # another process was faster
        # The new halves belong to those that this refresh began with. Beside any other half they would make another
        # key.
        if _half_of(row).public.hex() != found.old_half:
            raise KeyDamaged
        row.encrypted_half_key, row.kek_version = found.encrypted_half_key, found.kek_version
        row.cosigner_public_key, row.key_tweak = found.cosigner_public_key, found.key_tweak
        row.halves_refreshed_at = timezone.now()
        row.save(
            update_fields=[
                "encrypted_half_key",
                "kek_version",
                "cosigner_public_key",
                "key_tweak",
                "halves_refreshed_at",
            ]
        )
        found.step, found.encrypted_half_key, found.switched_at = RefreshStep.SWITCHED, None, timezone.now()
        found.save(update_fields=["step", "encrypted_half_key", "switched_at"])
        forget_after_commit(row.id)
        audit.write(row, AuditTag.KEY_HALVES_REFRESHED, actor)


def _half_of(row: PersonalKey) -> SealedHalf:
    return SealedHalf.unpack(row.encrypted_half_key, row.kek_version)


def _new_half_of(going: HalfRefresh) -> SealedHalf:
    return SealedHalf.unpack(going.encrypted_half_key, going.kek_version)
