"""A split key that is disabled here has its version in the HSM disabled too, and enabled again with it.

A lock stops at once and is lifted as quickly; it leaves the HSM alone. Told by jobs, repeated until the HSM has heard;
``PersonalKey.hsm_is_disabled`` is what it was brought to last.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django_scopes import scope

from accounts.models import KeyMode
from keycast.audit.entries import Actor
from keycast.audit.services import record
from keycast.audit.tags import AuditTag
from keys.errors import NoCapability
from keys.hsm import providers, registration
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured
from keys.lifecycle import audit
from keys.lifecycle.rows import locked_row
from keys.models import KeyState, PersonalKey

STOPPED: Final = (KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED)
SERVING: Final = (KeyState.ACTIVE, KeyState.LOCKED)
_TRIES: Final = 3


def out_of_sync_keys() -> QuerySet[PersonalKey]:
    """Split keys whose HSM key is not in the state that theirs asks for."""
    behind = Q(state__in=STOPPED, hsm_is_disabled=False) | Q(state__in=SERVING, hsm_is_disabled=True)
    found: QuerySet[PersonalKey] = PersonalKey.objects.filter(
        behind, key_mode=KeyMode.HSM, hsm_provider__in=providers.disabling()
    )
    return found.exclude(cosigner_public_key="").exclude(kms_key_version="")


def lags(key: PersonalKey) -> bool:
    """Whether this row's HSM key is behind it; no query."""
    if not key.cosigner_public_key or key.state not in (*STOPPED, *SERVING):
        return False
    if key.hsm_provider not in providers.disabling():
        return False
    return key.hsm_is_disabled is not (key.state in STOPPED)


def sync_hsm_key(seen: PersonalKey) -> bool:
    """Disable or enable the HSM key as the row's state asks, until it does; whether that took a change.

    Raises keys.hsm_errors; HsmKeyUnusable for a version to be enabled that is destroyed.
    """
    changed = False
    for _ in range(_TRIES):  # the state may change while the HSM is asked
        with scope(tenant=seen.tenant_id):
            row = PersonalKey.objects.get(pk=seen.pk)
        if not lags(row):
            break
        _tell(row)
        changed = True
    return changed


def enable_for_a_grant(row: PersonalKey) -> bool:
    """Enable a stopped key's HSM key for one more signature; False when it is destroyed. ``sync_hsm_key`` follows.

    Raises keys.hsm_errors.
    """
    keeper = registration.hsm_key_managers().get(row.hsm_provider)
    if keeper is None:
        raise HsmMisconfigured
    # In this order: whatever dies in between, the row asks for it to be disabled.
    _note_disabled(row, is_disabled=False)
    try:
        keeper.enable(row.kms_key_version)
    except (HsmKeyUnusable, NoCapability):
        _note_disabled(row, is_disabled=True)
        return False
    return True


def _note_disabled(row: PersonalKey, *, is_disabled: bool) -> None:
    with scope(tenant=row.tenant_id):
        PersonalKey.objects.filter(pk=row.pk, kms_key_version=row.kms_key_version).update(hsm_is_disabled=is_disabled)


def _tell(row: PersonalKey) -> None:
    keeper, to_stop = registration.hsm_key_managers().get(row.hsm_provider), row.state in STOPPED
    if keeper is None:
        raise HsmMisconfigured
    try:
        (keeper.disable if to_stop else keeper.enable)(row.kms_key_version)
    except HsmKeyUnusable:
        if not to_stop:
            raise  # what is destroyed is as good as disabled, but cannot serve again
    with scope(tenant=row.tenant_id), transaction.atomic():
        now = locked_row(row)
        if now.kms_key_version != row.kms_key_version:
            return  # another HSM key took its place meanwhile
        now.hsm_is_disabled = to_stop
        now.save(update_fields=["hsm_is_disabled"])
        tag = AuditTag.HSM_KEY_DISABLED if to_stop else AuditTag.HSM_KEY_ENABLED
        record(audit.entry(now, tag, Actor.system("jobs"), hsm_key=row.kms_key_version))
