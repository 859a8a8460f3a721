"""What staff can do to a key. Services decide; these say what it means."""

from __future__ import annotations

from typing import Final

from keycast.admin_tools import Verb
from keys import services
from keys.models import KeyState, PersonalKey
from keys.states import Step, allows

_STOPPABLE: Final = {KeyState.ACTIVE, KeyState.LOCKED}

VERBS: Final[tuple[Verb[PersonalKey], ...]] = (
    Verb(
        "lock",
        "Lock",
        "Nothing is signed with this key until it is unlocked.",
        lambda actor, key, reason: services.lock_key(actor=actor, key=key, reason=reason),
        lambda key: allows(key.state, Step.LOCK),
        is_dangerous=True,
    ),
    Verb(
        "unlock",
        "Unlock",
        "Signing goes on under the policies that the apps had.",
        lambda actor, key, reason: services.unlock_key(actor=actor, key=key),
        lambda key: allows(key.state, Step.UNLOCK),
    ),
    Verb(
        "disable",
        "Disable",
        "Takes the key out of use for longer than a lock.",
        lambda actor, key, reason: services.disable_key(actor=actor, key=key, reason=reason),
        lambda key: key.state in _STOPPABLE,
        is_dangerous=True,
    ),
    Verb(
        "enable",
        "Enable",
        "Puts the key back into use.",
        lambda actor, key, reason: services.enable_key(actor=actor, key=key),
        lambda key: allows(key.state, Step.ENABLE),
    ),
)
