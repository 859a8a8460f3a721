"""What encrypts and decrypts, by the name of its NIP-46 method (NIP-04, NIP-44)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip44
from keycast.nostr.nip46 import Nip46Method
from keys.errors import InvalidOperand


class Cipher(NamedTuple):
    """``apply`` takes a text and a key: the conversation key (NIP-44), or else the secret that both sides share."""

    apply: Callable[[str, SecretBytes], str]
    has_conversation_key: bool


_CIPHERS: Final[dict[str, Cipher]] = {
    Nip46Method.NIP04_ENCRYPT: Cipher(nip04.encrypt, False),
    Nip46Method.NIP04_DECRYPT: Cipher(nip04.decrypt, False),
    Nip46Method.NIP44_ENCRYPT: Cipher(nip44.encrypt, True),
    Nip46Method.NIP44_DECRYPT: Cipher(nip44.decrypt, True),
}


def cipher_of(method: str) -> Cipher:
    """The cipher of a method. Raises InvalidOperand for one that has none."""
    try:
        return _CIPHERS[method]
    except KeyError:
        raise InvalidOperand from None
