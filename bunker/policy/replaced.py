"""What a key still does after a new one took its place: it reads, and says where its owner went.

Whatever an app was granted, an app on a replaced key may decrypt, sign in to relays (without which many keep old
messages to themselves), and change the profile, where the owner can name the new key. Nothing else, so that an old
identity does not go on speaking beside the new one.
"""

from __future__ import annotations

from typing import Final

from bunker.policy.permissions import Narrowing
from keycast.nostr.nip46 import Nip46Method

PROFILE: Final = 0
RELAY_SIGN_IN: Final = 22242

STILL_DONE: Final = Narrowing(
    frozenset({Nip46Method.SIGN_EVENT, Nip46Method.NIP04_DECRYPT, Nip46Method.NIP44_DECRYPT}),
    frozenset({PROFILE, RELAY_SIGN_IN}),
)
REFUSAL: Final = "This key was replaced by a new one and only reads. Connect the app to the new key."
