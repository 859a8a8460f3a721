"""A key as its owner sees it: words instead of states, and the steps that its state allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.models import LockAuthority
from keycast.nostr.nip19 import encode_npub
from keys.lifecycle.states import KeyTransition, allows
from keys.models import KeyState, PersonalKey
from keys.portal.choices import mode_name
from keys.selectors import hsm_lags, is_emulated

_BADGES = {
    KeyState.ACTIVE: "badge-good",
    KeyState.PENDING: "badge-accent",
    KeyState.LOCKED: "badge-warn",
    KeyState.DISABLED: "badge-warn",
    KeyState.DESTRUCTION_SCHEDULED: "badge-bad",
    KeyState.DESTROYED: "badge-bad",
    KeyState.FAILED: "badge-bad",
}
_NOTICES = {
    KeyState.PENDING: "This key is still being made. That can take some minutes.",
    KeyState.LOCKED: "This key is locked: every app that asks is refused.",
    KeyState.DISABLED: "This key is out of use: every app that asks is refused.",
    KeyState.DESTRUCTION_SCHEDULED: "This key is out of use and will be destroyed.",
    KeyState.DESTROYED: "This key has been destroyed. What it did stays in the log.",
    KeyState.FAILED: "This key could not be made. Nothing is lost; make another one.",
}
_HELD_ABOVE = " The people who run Keycast did this; ask them."


@dataclass(frozen=True, slots=True)
class KeyActions:
    """Which buttons to show."""

    lock: bool
    unlock: bool
    enable: bool
    destroy: bool
    keep: bool


@dataclass(frozen=True, slots=True)
class KeyView:
    """What templates get of a key; nothing here is secret."""

    id: UUID
    html_id: str
    name: str
    npub: str
    public_key: str
    mode_name: str
    state_label: str
    state_class: str
    notice: str
    is_active: bool
    is_pending: bool
    is_failed: bool
    is_emulated: bool
    waits_for: str
    choice: str
    is_imported: bool
    created_at: datetime
    destruction_due_at: datetime | None
    replaced_at: datetime | None
    app_count: int
    used_at: datetime | None
    may: KeyActions


def present(key: PersonalKey) -> KeyView:
    """``app_count`` and ``used_at`` are there when the query was annotated (keys.portal.panels)."""
    state = KeyState(key.state)
    is_above = key.state_set_by in {LockAuthority.STAFF, LockAuthority.SYSTEM}
    held_above = is_above and state not in {KeyState.ACTIVE, KeyState.FAILED}
    return KeyView(
        id=key.id,
        html_id=f"key-{key.id.hex[:8]}",
        name=key.name,
        npub=npub(key.public_key),
        public_key=key.public_key or "",
        mode_name=mode_name(key),
        state_label=state.label,
        state_class=_BADGES[state],
        notice=_NOTICES.get(state, "") + (_HELD_ABOVE if held_above else "") + _lag(key),
        is_active=state == KeyState.ACTIVE,
        is_pending=state == KeyState.PENDING,
        is_failed=state == KeyState.FAILED,
        is_emulated=is_emulated(key.key_mode, key.provider_of_mode),
        waits_for=key.state_reason if state in {KeyState.PENDING, KeyState.FAILED} else "",
        choice=f"{key.key_mode}:{key.provider_of_mode}",
        is_imported=key.is_imported,
        created_at=key.created_at,
        destruction_due_at=key.destruction_due_at,
        replaced_at=key.replaced_at,
        app_count=getattr(key, "app_count", 0),
        used_at=getattr(key, "used_at", None),
        may=_steps(state, held_above=held_above),
    )


def _lag(key: PersonalKey) -> str:
    """What the HSM has not heard yet; a job tells it, and repeats that until it has."""
    if not hsm_lags(key):
        return ""
    if key.state == KeyState.ACTIVE:
        return "Its key in the HSM is being enabled again; until then nothing is signed."
    return " Its key in the HSM is still being disabled." if key.state != KeyState.LOCKED else ""


def _steps(state: KeyState, *, held_above: bool) -> KeyActions:
    return KeyActions(
        lock=allows(state, KeyTransition.LOCK),
        unlock=allows(state, KeyTransition.UNLOCK) and not held_above,
        enable=allows(state, KeyTransition.ENABLE) and not held_above,
        destroy=allows(state, KeyTransition.SCHEDULE_DESTRUCTION),
        keep=allows(state, KeyTransition.CANCEL_DESTRUCTION),
    )


def npub(public_key: str | None) -> str:
    """The public key as people know it (NIP-19); empty while there is none."""
    return encode_npub(public_key) if public_key else ""
