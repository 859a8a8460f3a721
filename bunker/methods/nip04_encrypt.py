"""``nip04_encrypt``: encrypt for a third party as the user (NIP-46, NIP-04)."""

from __future__ import annotations

from bunker.methods.base import UsesKeys
from bunker.methods.crypt import Crypt
from keycast.audit.tags import Tag
from keys.refs import KeyRef


class Nip04Encrypt(Crypt):
    """Parameters: the third party's public key, then the plaintext."""

    __slots__ = ()
    name = "nip04_encrypt"
    tag = Tag.NIP04_ENCRYPT

    async def run(self, keys: UsesKeys, key: KeyRef) -> str:
        """The payload for the third party."""
        return self.checked(await keys.nip04_encrypt(key, self.peer, self.text))
