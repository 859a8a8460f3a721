"""The one event that is signed although no app asks: to try a key's new way out, before it takes the old one's place.

Ephemeral (NIP-01), and expired when it is made (NIP-40): nobody is given it, and nobody would keep it. It is the same
but for its author, so the co-signer can tell it from everything else by itself.
"""

from __future__ import annotations

from typing import Final

from keycast.nostr.nip01 import UnsignedEvent

EPHEMERAL: Final = 29_999
"""A kind that relays do not keep (NIP-01) and that nobody uses."""
CONTENT: Final = "Proof that this key signs in its new way of being kept. Never published."


def trial_event(public_key: str) -> UnsignedEvent:
    """That event, by this author (64 hex digits)."""
    return UnsignedEvent(public_key, 1, EPHEMERAL, [["expiration", "1"]], CONTENT)
