"""What the co-signer should hear of a key's life, told in the background and repeated until it has heard."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.base.errors import KeycastError
from keys import signals
from keys.hsm import providers, registration, version_states
from keys.hsm_errors import HsmKeyUnusable
from keys.models import KeyState, PersonalKey
from keys.split import halves, refresh, succession
from keys.split.halves import authoriser_of

logger = logging.getLogger(__name__)
LOOK_BACK: Final = timedelta(days=1)
# Each may take a round trip to the co-signer and one to the HSM, and a job ends after five minutes.
MAX_PER_RUN: Final = 500
_SPLIT: Final = Q(key_mode=KeyMode.HSM, hsm_provider__in=providers.splitting()) & ~Q(cosigner_public_key="")


def connect() -> None:
    """Split keys from now on, and start listening where that is set up; called once, when the app is ready."""
    registration.split_with(halves)
    if providers.splits_here():
        signals.key_changed.connect(_key_changed, dispatch_uid="keys.cosigner")


def sync_state(key_id: UUID) -> bool:
    """Tell the co-signer and the HSM of one key's state; whether that changed anything. Raises keys.errors.

    Stopping goes to the co-signer first, which wants the HSM's grant where the key is to end; serving again to the HSM,
    whose authorisation the co-signer then asks for.
    """
    # A job names a key by its id alone.
    with scopes_disabled():
        row: PersonalKey | None = PersonalKey.objects.filter(_SPLIT, pk=key_id).first()
    if row is None:
        return False
    if row.state in version_states.SERVING:
        # The other order would ask a disabled version to sign for enabling the key.
        changed = version_states.sync_hsm_key(row)
        return _tell_cosigner(row) or changed
    told = _tell_cosigner(row)
    return version_states.sync_hsm_key(row) or told


def _tell_cosigner(row: PersonalKey) -> bool:
    try:
        told = halves.sync_state(row, lambda: authoriser_of(row.hsm_provider))
    except HsmKeyUnusable:
        if row.state != KeyState.DESTRUCTION_SCHEDULED:
            raise
        # It was disabled before, and has to sign for its key's end; ``sync_state`` disables it again.
        told = version_states.enable_for_a_grant(row)
        if told:
            halves.sync_state(row, lambda: authoriser_of(row.hsm_provider))
        else:
            logger.error("the co-signer keeps a half whose HSM key is gone", extra={"key_id": str(row.id)})
    # As in sync_state. The time says which state was told: one that came meanwhile is still to be told.
    with scopes_disabled():
        PersonalKey.objects.filter(pk=row.pk).update(cosigner_heard_of=row.state_changed_at)
    return told


def resume_all() -> int:
    """Tell what was not heard, repeat the last day's states, and bring refreshes on; how many keys were touched.

    Never raises for one key.
    """
    if not providers.splits_here():
        return 0
    # A job repeats states of every tenant.
    with scopes_disabled():
        keys = PersonalKey.objects.filter(_SPLIT)
        # In any order: keys that the co-signer refuses for ever must not stand before all others at each run.
        key_ids = list(unheard(keys).order_by("?").values_list("pk", flat=True)[:MAX_PER_RUN])
        # Again, though it heard of them: its own database may have been restored meanwhile.
        lately = keys.filter(state_changed_at__gte=timezone.now() - LOOK_BACK).exclude(pk__in=key_ids)
        rest = MAX_PER_RUN - len(key_ids)
        key_ids += lately.order_by("-state_changed_at").values_list("pk", flat=True)[:rest]
        key_ids += list(
            version_states.out_of_sync_keys().exclude(pk__in=key_ids).values_list("pk", flat=True)[:MAX_PER_RUN]
        )
    told = sum(_quietly(partial(sync_state, key_id), key_id) for key_id in key_ids)
    return told + refresh.resume(authoriser_of) + refresh.finish_due() + _successions()


def unheard(keys: QuerySet[PersonalKey]) -> QuerySet[PersonalKey]:
    """Those of which the co-signer has not heard in what state they are; pending ones are their own job's business."""
    not_told = Q(cosigner_heard_of=None) | Q(cosigner_heard_of__lt=F("state_changed_at"))
    return keys.filter(not_told).exclude(state__in=[KeyState.PENDING, KeyState.DESTROYED, KeyState.FAILED])


def _successions() -> int:
    return sum(
        succession.resume(authoriser_of, keeper, provider=name) + succession.finish_due(keeper, provider=name)
        for name, keeper in registration.hsm_key_managers().items()
        if providers.splits(name)
    )


def _quietly(step: Any, key_id: UUID) -> int:
    try:
        return int(step())
    except KeycastError as error:
        logger.warning("the co-signer has not heard of a key", extra={"key_id": str(key_id), "code": error.code})
        return 0


def _key_changed(sender: Any, *, key_id: UUID, **_: Any) -> None:
    # The signal names a key by its id alone.
    with scopes_disabled():
        is_split = PersonalKey.objects.filter(_SPLIT, pk=key_id).exists()
    if is_split:
        transaction.on_commit(partial(_enqueue, key_id))


def _enqueue(key_id: UUID) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.tell_cosigner", str(key_id))
