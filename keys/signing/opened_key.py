"""A key while it is open: its keypair and the conversation keys derived from it, wiped together."""

from __future__ import annotations

import threading
from typing import Final
from uuid import UUID

from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip44
from keycast.nostr.types import is_hex


class ConversationKeyBudget:
    """How many conversation keys the process may keep at once, over all open keys; beyond it they are not kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Claim room for one; False when there is none."""
        with self._lock:
            if self._count >= self._limit:
                return False
            self._count += 1
            return True

    def give_back(self, count: int) -> None:
        """Room for ``count`` became free."""
        with self._lock:
            self._count -= count


BUDGET: Final = ConversationKeyBudget(65_536)


def peer_bytes(peer: str) -> bytes:
    """The 32 bytes of a peer's public key; raises CryptoError unless it is 64 lower-case hex digits."""
    if not is_hex(peer, 32):
        raise CryptoError("not a public key")
    return bytes.fromhex(peer)


class OpenKey:
    """An opened secret key. ``conversations_kept`` bounds its conversation keys; the least recently used one goes.

    Every use after ``wipe()`` raises SecretWiped, also one that is under way on another thread.
    """

    __slots__ = ("_conversations", "_limit", "is_kept", "keypair", "public_key", "tenant_id")

    def __init__(self, keypair: Keypair, tenant_id: UUID, conversations_kept: int) -> None:
        self.keypair = keypair
        self.public_key = keypair.public_key_hex
        self.tenant_id = tenant_id
        self.is_kept = False
        self._limit = conversations_kept
        self._conversations: dict[str, SecretBytes] = {}

    def conversation_key(self, peer: str) -> SecretBytes:
        """The NIP-44 conversation key with ``peer`` (64 hex digits). Raises CryptoError, SecretWiped."""
        known = self._conversations.pop(peer, None)
        if known is None:
            known = nip44.conversation_key(self.keypair, peer_bytes(peer))
            if not self.is_kept or not self._make_room():
                return known
        self._conversations[peer] = known
        if self.keypair.is_wiped:
            self._withdraw(peer, known)
            raise SecretWiped
        return known

    def shared_key(self, peer: str) -> SecretBytes:
        """The NIP-04 key with ``peer``, not kept; the caller wipes it. Raises CryptoError, SecretWiped."""
        return nip04.shared_key(self.keypair, peer_bytes(peer))

    def wipe(self) -> None:
        """Overwrite the keypair and every conversation key."""
        self.keypair.wipe()
        kept, self._conversations = self._conversations, {}
        for key in list(kept.values()):
            key.wipe()
        BUDGET.give_back(len(kept))

    def _make_room(self) -> bool:
        if len(self._conversations) < self._limit:
            return BUDGET.take()
        # Dropped, not wiped: another thread may be using it. It wipes itself when the last user lets go.
        dropped = self._conversations.pop(next(iter(self._conversations), ""), None)
        return dropped is not None or BUDGET.take()

    def _withdraw(self, peer: str, key: SecretBytes) -> None:
        """Wiped by another thread between our look and our keeping: leave nothing behind."""
        if self._conversations.pop(peer, None) is not None:
            BUDGET.give_back(1)
        key.wipe()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.public_key[:8]}>"
