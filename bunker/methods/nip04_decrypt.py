"""``nip04_decrypt``: decrypt what a third party and the user share (NIP-46, NIP-04)."""

from __future__ import annotations

from bunker.methods.base import UsesKeys
from bunker.methods.crypt import Crypt
from keycast.audit.tags import Tag
from keys.refs import KeyRef


class Nip04Decrypt(Crypt):
    """Parameters: the third party's public key, then the payload."""

    __slots__ = ()
    name = "nip04_decrypt"
    tag = Tag.NIP04_DECRYPT

    async def run(self, keys: UsesKeys, key: KeyRef) -> str:
        """The plaintext."""
        return self.checked(await keys.nip04_decrypt(key, self.peer, self.text))
