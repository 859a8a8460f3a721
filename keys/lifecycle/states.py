"""The life of a key in one table: every step that exists, and nothing that does not.

::

    pending -> active -> locked <-> active -> disabled <-> active
    active | locked | disabled -> destruction-scheduled -> destroyed
    destruction-scheduled -> disabled (cancelled)
    pending -> failed -> destroyed (removed by its owner)

A key serves requests in state ``active`` alone. ``destroyed`` is final, and a key that failed never comes to life.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from keys.errors import InvalidTransition, KeyLocked, KeyUnavailable
from keys.models import KeyState


class KeyTransition(StrEnum):
    """What can be done to a key's state."""

    FINISH = "finish"
    FAIL = "fail"
    LOCK = "lock"
    UNLOCK = "unlock"
    DISABLE = "disable"
    ENABLE = "enable"
    SCHEDULE_DESTRUCTION = "schedule-destruction"
    CANCEL_DESTRUCTION = "cancel-destruction"
    DESTROY = "destroy"
    REMOVE = "remove"


TRANSITIONS: Final[dict[tuple[KeyState, KeyTransition], KeyState]] = {
    (KeyState.PENDING, KeyTransition.FINISH): KeyState.ACTIVE,
    (KeyState.PENDING, KeyTransition.FAIL): KeyState.FAILED,
    (KeyState.ACTIVE, KeyTransition.LOCK): KeyState.LOCKED,
    (KeyState.LOCKED, KeyTransition.UNLOCK): KeyState.ACTIVE,
    (KeyState.ACTIVE, KeyTransition.DISABLE): KeyState.DISABLED,
    (KeyState.LOCKED, KeyTransition.DISABLE): KeyState.DISABLED,
    (KeyState.DISABLED, KeyTransition.ENABLE): KeyState.ACTIVE,
    (KeyState.ACTIVE, KeyTransition.SCHEDULE_DESTRUCTION): KeyState.DESTRUCTION_SCHEDULED,
    (KeyState.LOCKED, KeyTransition.SCHEDULE_DESTRUCTION): KeyState.DESTRUCTION_SCHEDULED,
    (KeyState.DISABLED, KeyTransition.SCHEDULE_DESTRUCTION): KeyState.DESTRUCTION_SCHEDULED,
    (KeyState.DESTRUCTION_SCHEDULED, KeyTransition.CANCEL_DESTRUCTION): KeyState.DISABLED,
    (KeyState.DESTRUCTION_SCHEDULED, KeyTransition.DESTROY): KeyState.DESTROYED,
    (KeyState.FAILED, KeyTransition.REMOVE): KeyState.DESTROYED,
}


def after(state: str, step: KeyTransition) -> KeyState:
    """The state that ``step`` leads to. Raises InvalidTransition."""
    try:
        return TRANSITIONS[(KeyState(state), step)]
    except KeyError:
        raise InvalidTransition(f"A key that is {KeyState(state).label.lower()} does not allow this.") from None


def allows(state: str, step: KeyTransition) -> bool:
    """Whether a key in this state can take this step; what the portal shows buttons by."""
    return (KeyState(state), step) in TRANSITIONS


def require_active(state: str) -> None:
    """Raise KeyLocked or KeyUnavailable unless a key in this state may be used."""
    if state == KeyState.ACTIVE:
        return
    if state == KeyState.LOCKED:
        raise KeyLocked
    raise KeyUnavailable(f"This key is not in use: {KeyState(state).label.lower()}.")
