"""What the four encrypt and decrypt methods share: a peer, a text, and a refusal of anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bunker.methods.base import BadParameters, KeyUse, Subject, require
from bunker.policy import Call
from keycast.crypto.schnorr import is_public_key
from keycast.nostr.types import is_hex


class Crypt(KeyUse):
    """``[third party's public key, text]``. The text is plaintext or payload; neither is kept or logged."""

    __slots__ = ("_size", "peer", "text")

    def __init__(self, params: Sequence[str], subject: Subject) -> None:
        require(params, 2)
        peer, text = params[0], params[1]
        if not is_hex(peer, 32) or not is_public_key(bytes.fromhex(peer)):
            raise BadParameters("The first parameter must be a public key in hex.")
        if not text:
            raise BadParameters("There is nothing to encrypt or decrypt.")
        call = Call(self.name, subject.key.public_key, uses=subject.uses, peer=peer)
        super().__init__(call, {"peer": peer, "size": len(text)})
        self.peer = peer
        self.text = text
        self._size = 0

    def outcome(self) -> Mapping[str, Any]:
        return {"size": self._size}

    def checked(self, result: str) -> str:
        """``result`` unless it is empty, which no client would take for an answer."""
        if not result:
            raise BadParameters("The decrypted text is empty.")
        self._size = len(result)
        return result
