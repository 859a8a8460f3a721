"""``nip04_encrypt``, ``nip44_decrypt`` and so on: what a third party and the user share (NIP-46, NIP-04, NIP-44)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bunker.methods.base import BadParameters, KeyMethod, KeyOperations, RequestContext, require
from bunker.policy import RequestedUse
from keycast.audit.tags import of_method
from keycast.crypto.schnorr import is_public_key
from keycast.nostr.nip44 import payload_length
from keycast.nostr.nip46 import Nip46Method
from keycast.nostr.types import is_hex
from keys.refs import KeyRef
from keys.signing.cosigning.messages import AskedUse

SURELY_FITS = 16 * 1024
"""Characters of a text whose result every relay takes."""


def _result_size(method: Nip46Method, text: str) -> int:
    if len(text) <= SURELY_FITS:
        return 0
    size = len(text.encode(errors="surrogatepass"))
    # A plaintext is shorter than its payload, unless much of it has to be escaped: that shows when it is there.
    return payload_length(size) if method.endswith("_encrypt") else size // 2


class CipherMethod(KeyMethod):
    """``[third party's public key, text]``. The text is plaintext or payload; neither is kept or logged."""

    __slots__ = ("_client", "_method", "_size", "_text", "name", "peer", "tag")

    def __init__(self, method: Nip46Method, params: Sequence[str], subject: RequestContext) -> None:
        require(params, 2)
        peer, text = params[0], params[1]
        if not is_hex(peer, 32) or not is_public_key(bytes.fromhex(peer)):
            raise BadParameters("The first parameter must be a public key in hex.")
        if not text:
            raise BadParameters("There is nothing to encrypt or decrypt.")
        self._method = method
        self.name = method.value
        self.tag = of_method(method)
        call = RequestedUse(self.name, subject.key.public_key, uses=subject.uses, peer=peer)
        super().__init__(call, {"peer": peer, "size": len(text)}, _result_size(method, text))
        self.peer = peer
        self._text, self._client = text, subject.client
        self._size = 0

    def outcome(self) -> Mapping[str, Any]:
        return {"size": self._size}

    async def run(self, keys: KeyOperations, key: KeyRef, asked: AskedUse | None = None) -> str:
        """The payload, or the plaintext unless it is empty, which no client would take for an answer."""
        result = await keys.crypt(key, self._method, self.peer, self._text, self._client, asked)
        if not result:
            raise BadParameters("The decrypted text is empty.")
        self._size = len(result)
        return result
