"""What staff can do to a key. Services decide; these say what it means, whose duty it is and what it asks for first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from accounts.models import KeyMode
from accounts.staff.model_admin import StaffAction
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keys import maintenance, services
from keys.exporting import services as exporting
from keys.lifecycle.states import KeyTransition, allows
from keys.models import ConversionStep, KeyState, PersonalKey, SuccessionStep
from keys.models.exports import OPEN
from keys.selectors import is_split

Run = Callable[[Actor, PersonalKey, str], Any]

_STOPPABLE: Final = {KeyState.ACTIVE, KeyState.LOCKED}
_STILL_STORED: Final = {*_STOPPABLE, KeyState.DISABLED}


def _rotate(kind: str) -> Run:
    return lambda actor, key, reason: maintenance.start_rotation(actor=actor, key=key, kind=kind, reason=reason)


def _may(step: KeyTransition) -> Callable[[PersonalKey], bool]:
    return lambda key: allows(key.state, step)


def _may_convert(key: PersonalKey) -> bool:
    """An attempt that failed may be made again; one that goes on, or is being cleaned up, may not."""
    step = getattr(getattr(key, "conversion", None), "step", ConversionStep.FAILED)
    return key.state == KeyState.ACTIVE and key.key_mode == KeyMode.ENCRYPTED and step == ConversionStep.FAILED


def _may_refuse(key: PersonalKey) -> bool:
    step = getattr(getattr(key, "succession", None), "step", "")
    return step in {SuccessionStep.MADE, SuccessionStep.WAITING}


STOP_ACTIONS: Final[tuple[StaffAction[PersonalKey], ...]] = (
    StaffAction(
        "lock",
        "Lock",
        "Nothing is signed with this key until it is unlocked.",
        lambda actor, key, reason: services.lock_key(actor=actor, key=key, reason=reason),
        _may(KeyTransition.LOCK),
        is_dangerous=True,
    ),
    StaffAction(
        "unlock",
        "Unlock",
        "Signing goes on under the policies that the apps had.",
        lambda actor, key, reason: services.unlock_key(actor=actor, key=key, reason=reason),
        _may(KeyTransition.UNLOCK),
    ),
    StaffAction(
        "disable",
        "Disable",
        "Takes the key out of use for longer than a lock. A job disables its version in Cloud KMS, where it has one.",
        lambda actor, key, reason: services.disable_key(actor=actor, key=key, reason=reason),
        lambda key: key.state in _STOPPABLE,
        is_dangerous=True,
    ),
    StaffAction(
        "enable",
        "Enable",
        "Puts the key back into use.",
        lambda actor, key, reason: services.enable_key(actor=actor, key=key, reason=reason),
        _may(KeyTransition.ENABLE),
    ),
)
EXPORT_ACTIONS: Final[tuple[StaffAction[PersonalKey], ...]] = (
    StaffAction(
        "cancel-export",
        "Cancel its export",
        "Nothing is given out. Its owner, who asked for it, gets a mail, and can ask again.",
        lambda actor, key, reason: exporting.cancel(actor=actor, key=key, reason=reason),
        lambda key: key.exports.filter(state__in=OPEN).exists(),
    ),
)
"""Staff stop an export; they neither ask for one nor download it."""
DESTRUCTION_ACTIONS: Final[tuple[StaffAction[PersonalKey], ...]] = (
    StaffAction(
        "destroy",
        "Destroy…",
        "Asks a second person. When they approve, the key stops at once, and after the waiting time nothing brings it "
        "back. Until then its destruction can be cancelled.",
        None,
        _may(KeyTransition.SCHEDULE_DESTRUCTION),
        is_dangerous=True,
        permission=StaffPermission.DESTROY,
        step_up=True,
        approval=services.DESTROY_KEY,
    ),
    StaffAction(
        "keep",
        "Cancel destruction",
        "Keeps the key. It stays disabled until somebody enables it.",
        lambda actor, key, reason: services.cancel_destruction(actor=actor, key=key, reason=reason),
        _may(KeyTransition.CANCEL_DESTRUCTION),
        permission=StaffPermission.DESTROY,
        step_up=True,
    ),
    StaffAction(
        "remove",
        "Remove",
        "Puts a key that could not be made out of sight. A job ends what its HSM has of it.",
        lambda actor, key, reason: services.remove_failed_key(actor=actor, key=key, reason=reason),
        _may(KeyTransition.REMOVE),
        permission=StaffPermission.OPERATE,
    ),
)
MAINTENANCE_ACTIONS: Final[tuple[StaffAction[PersonalKey], ...]] = (
    StaffAction(
        "check",
        "Check",
        "Opens what is stored and compares it with the public key, and looks its HSM's part up. Signs nothing.",
        lambda actor, key, reason: maintenance.check(actor=actor, key=key, reason=reason),
        lambda key: key.state in {*_STILL_STORED, KeyState.DESTRUCTION_SCHEDULED},
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "retry",
        "Try again",
        "Makes a new key in place of this one: of the same person, name and kind. This one becomes a tombstone.",
        lambda actor, key, reason: maintenance.recreate_failed(actor=actor, key=key, reason=reason),
        lambda key: key.state == KeyState.FAILED and not key.is_imported,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "hurry",
        "Look now",
        "Has a job ask the HSM now, and not at its next turn.",
        lambda actor, key, reason: maintenance.check_pending_now(actor=actor, key=key),
        lambda key: key.state == KeyState.PENDING,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "convert",
        "Convert to a split key",
        "Moves the key to the split mode that Cloud KMS authorises, under the same public key. Jobs do it, and the key "
        "signs as before until then. There is no way back.",
        lambda actor, key, reason: services.convert_key(actor=actor, key=key),
        _may_convert,
        is_dangerous=True,
        permission=StaffPermission.CONVERT,
        step_up=True,
    ),
    StaffAction(
        "stay",
        "Give the conversion up",
        "Leaves the key as it is. Jobs end what the HSM and the co-signer have of the new one.",
        lambda actor, key, reason: services.cancel_conversion(actor=actor, key=key, reason=reason),
        lambda key: hasattr(key, "conversion"),
        permission=StaffPermission.CONVERT,
    ),
    StaffAction(
        "rewrap",
        "Seal anew",
        "Seals what is stored of the key under the current key-encryption key. Jobs do it; the key signs meanwhile.",
        _rotate("rewrap"),
        lambda key: key.state in _STILL_STORED,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "refresh",
        "Renew the halves",
        "Draws new halves under the same public key; old ones, and backups of them, are then worth nothing.",
        _rotate("halves"),
        lambda key: is_split(key) and key.state == KeyState.ACTIVE,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "replace-hsm-key",
        "Replace its HSM key",
        "Another key in Cloud KMS authorises, under the same Nostr key. The old one is disabled some minutes later.",
        _rotate("kms-key"),
        lambda key: is_split(key) and key.state == KeyState.ACTIVE,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "refuse-hsm-key",
        "Refuse the new HSM key",
        "The co-signer never accepts the HSM key that waits; the present one goes on authorising. A job tells it so.",
        lambda actor, key, reason: services.refuse_successor(actor=actor, key=key, reason=reason),
        _may_refuse,
        permission=StaffPermission.OPERATE,
    ),
    StaffAction(
        "transport",
        "Replace its remote-signer key",
        "Gives the key a new address on the wire. Apps that are connected go on for a while at the old one.",
        _rotate("transport"),
        lambda key: key.state in _STILL_STORED,
        permission=StaffPermission.OPERATE,
    ),
)
STAFF_ACTIONS: Final = (*STOP_ACTIONS, *EXPORT_ACTIONS, *MAINTENANCE_ACTIONS, *DESTRUCTION_ACTIONS)
