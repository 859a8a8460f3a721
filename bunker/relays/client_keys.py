"""NIP-42 at the built-in relay: which keys a client of it has proved to hold.

The challenge is sent when something needs it, not as a greeting. An unanswered challenge hurts clients that need none:
NDK takes the connection for one that is not open, welshman keeps back EOSE (docs/decisions/0112).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from time import time
from urllib.parse import unquote, urlsplit

from bunker.relay_addresses import is_built_in_path
from keycast.nostr.nip01 import Event, single_tag_value

KIND_AUTH = 22242
AUTH_SECONDS = 600
"""How far ``created_at`` may lie from now, either way (NIP-42: about ten minutes)."""


class ClientKeys:
    """The challenge of one connection, and the public keys that answered it. ``host`` is its Host header."""

    __slots__ = ("_challenge", "_host", "_most", "_now", "proved")

    def __init__(self, host: str, most: int, now: Callable[[], float] = time) -> None:
        self._host, self._most, self._now = host, most, now
        self._challenge = ""
        self.proved: frozenset[str] = frozenset()

    @property
    def challenge(self) -> str:
        """32 hex digits, the same for the life of the connection; drawn when first asked for."""
        self._challenge = self._challenge or secrets.token_hex(16)
        return self._challenge

    def refusal_of(self, event: Event) -> str | None:
        """Why a parsed event, not verified yet, proves nothing here, in words for its sender; None if it may.

        Nothing is right before a challenge was sent (NIP-42, "Signed Event Verification").
        """
        if event.kind != KIND_AUTH:
            return f"invalid: only kind {KIND_AUTH} authenticates"
        if abs(self._now() - event.created_at) > AUTH_SECONDS:
            return "invalid: created_at is too far from the present"
        given = single_tag_value(event, "challenge") or ""
        if not self._challenge or not secrets.compare_digest(given.encode(), self._challenge.encode()):
            return "invalid: not the challenge of this connection"
        if not self._is_here(single_tag_value(event, "relay") or ""):
            return "invalid: made for another relay"
        if len(self.proved) >= self._most and event.pubkey not in self.proved:
            return f"restricted: at most {self._most} keys for one connection"
        return None

    def add(self, public_key: str) -> None:
        """Take ``public_key`` (hex), whose signature over the challenge was verified, as proved."""
        self.proved |= {public_key}

    def _is_here(self, url: str) -> bool:
        """Whether a URL is this relay's, by host name and path: ports and schemes change on the way (NIP-42)."""
        try:
            asked, own = urlsplit(url), urlsplit(f"//{self._host}")
        except ValueError:
            return False
        is_own_host = bool(own.hostname) and asked.hostname == own.hostname
        return asked.scheme in {"ws", "wss"} and is_own_host and is_built_in_path(unquote(asked.path))
