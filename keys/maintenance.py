"""Looking after single keys: a check of one that is there, another try at one that could not be made."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django_scopes import scope

from accounts.models import KeyMode
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.audit.services import record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keys import access
from keys.errors import CheckFailed, InvalidTransition
from keys.hsm import provisioning
from keys.hsm.inventory.compare import TITLES, Discrepancy, compare
from keys.hsm.inventory.listing import hsm_key_readers
from keys.hsm.inventory.runs import read_hsm_key
from keys.lifecycle import audit, creation, destruction, modes, states
from keys.lifecycle.creation import WantedKey
from keys.lifecycle.rows import locked_row
from keys.lifecycle.states import KeyTransition
from keys.lifecycle.text import clean_reason
from keys.lifecycle.verification import KEPT_STATES, opens
from keys.models import KeyState, PersonalKey, Rotation
from keys.rotation.scope import RotationScope
from keys.rotation.services import start

_NOT_THERE = "A key that is {} has nothing that could be checked."
_IMPORTED = "The secret was wiped with the try that failed. Its owner has to import the key again."
_UNCLEAN = "The HSM still holds a part of it. A job ends that within minutes; please try again then."


def check(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Open what is stored and compare, look the HSM's part up and compare; sign nothing, change nothing.

    The log keeps what came of it, also when the check itself could not be made. Raises NotPermitted, CheckFailed with
    what is wrong, InvalidTransition for a key that is not there, and what the HSM or the key-encryption key fails with.
    """
    access.require_manager(actor, key, StaffPermission.OPERATE)
    if key.state not in KEPT_STATES:
        raise InvalidTransition(_NOT_THERE.format(KeyState(key.state).label.lower()))
    with scope(tenant=key.tenant_id):
        row = PersonalKey.objects.get(pk=key.pk)
    try:
        problem = _problem(row)
    except KeycastError as error:
        _note(row, actor, AuditOutcome.UNKNOWN, reason, error.public_message)
        raise
    _note(row, actor, AuditOutcome.FAILED if problem else AuditOutcome.OK, reason, problem)
    if problem:
        raise CheckFailed(problem)
    return row


def recreate_failed(*, actor: Actor, key: PersonalKey, reason: str = "") -> PersonalKey:
    """Make a key in place of one that could not be made: of the same person, name, mode and provider.

    The failed one becomes a tombstone. It was never whole, and its public key is nobody's. Raises InvalidTransition,
    NotPermitted, and as keys.services.create_key.
    """
    with scope(tenant=key.tenant_id), transaction.atomic():
        row = locked_row(key)
        access.require_manager(actor, row, StaffPermission.OPERATE)
        states.after(row.state, KeyTransition.REMOVE)
        if row.is_imported:
            raise InvalidTransition(_IMPORTED)
        if row.kms_key_name:
            raise InvalidTransition(_UNCLEAN)
        access.require_creator(actor, row.tenant, row.user)
        backend = modes.choose(row.tenant, row.key_mode, row.hsm_provider)
        made = creation.create_keys(actor, row.tenant, backend, [WantedKey(row.user, row.name)])[0]
        row.state = states.after(row.state, KeyTransition.REMOVE)
        destruction.overwrite(row)
        audit.save_state(row, "encrypted_secret_key", "encrypted_half_key", "key_tweak")
        audit.write(row, AuditTag.KEY_CREATION_RETRIED, actor, reason=clean_reason(reason), to=str(made.id))
        return made


def check_pending_now(*, actor: Actor, key: PersonalKey) -> PersonalKey:
    """Have a job look at a pending key now, not at its next turn. Raises InvalidTransition, NotPermitted."""
    access.require_manager(actor, key, StaffPermission.OPERATE)
    with transaction.atomic():
        row = locked_row(key)
        states.after(row.state, KeyTransition.FINISH)
        provisioning.enqueue(row.id)
    return row


def start_rotation(*, actor: Actor, key: PersonalKey, kind: str, reason: str) -> Rotation:
    """Start a rotation (keys.rotation) of this key alone, and keep the reason in the key's own life. Raises as it."""
    with transaction.atomic():
        started = start(actor=actor, kind=kind, scope=RotationScope.of_key(key))
        text = clean_reason(reason)
        record(audit.entry(key, AuditTag.KEY_ROTATION_ASKED, actor, reason=text, rotation=started.kind))
    return started


def _problem(row: PersonalKey) -> str:
    """What is wrong, in plain words; empty when nothing is."""
    if not opens(row):
        return "What is stored does not open to the key's public key."
    stock = hsm_key_readers().get(row.hsm_provider) if row.key_mode == KeyMode.HSM else None
    if stock is None:
        return ""
    if not stock.can_look:
        # A server has no permission to list keys. What it may see tells a wrong key, and a job's inventory the rest.
        seen = stock.public_key(row.kms_key_version) if row.kms_key_version else None
        if seen is None:
            return TITLES[Discrepancy.UNSEEN] if row.state == KeyState.ACTIVE else ""
        return "" if seen.hex() == row.authoriser_public_key else TITLES[Discrepancy.WRONG_PUBLIC_KEY]
    found = compare(row, *read_hsm_key(stock, row), timezone.now())
    return "; ".join(dict.fromkeys(TITLES[finding.kind] for finding in found))


def _note(row: PersonalKey, actor: Actor, outcome: AuditOutcome, reason: str, found: str) -> None:
    record(audit.entry(row, AuditTag.KEY_CHECKED, actor, outcome, reason=clean_reason(reason), found=found))
