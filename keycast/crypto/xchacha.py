"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), made of the ChaCha20 and ChaCha20-Poly1305 of ``cryptography``."""

from __future__ import annotations

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from keycast.crypto.errors import AeadError, CryptoError
from keycast.crypto.secret import SecretBytes, view_of, wipe_bytes

NONCE_SIZE: Final = 24
TAG_SIZE: Final = 16
_CONSTANTS: Final = struct.unpack("<4I", b"expand 32-byte k")


def hchacha20(key: SecretBytes, nonce: bytes) -> SecretBytes:
    """The 32-byte subkey for a 16-byte nonce (draft 2.2).

    A ChaCha20 block is the state after 20 rounds plus the state before them. HChaCha20 wants, without that sum, the
    words whose input is public: the constants and the nonce. So they are taken from a block and the sum undone.
    """
    if len(nonce) != 16:
        raise CryptoError("a nonce has the wrong length")
    block = Cipher(ChaCha20(view_of(key, 32), nonce), None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    before = _CONSTANTS + struct.unpack("<4I", nonce)
    subkey = SecretBytes.zero(32)
    after = (value - start & 0xFFFFFFFF for value, start in zip(words[:4] + words[12:], before, strict=True))
    struct.pack_into("<8I", subkey.view(), 0, *after)
    wipe_bytes(block)
    return subkey


def seal(key: SecretBytes, nonce: bytes, plaintext: SecretBytes, aad: bytes) -> bytes:
    """Ciphertext and tag under a 24-byte nonce that is random and used once."""
    if len(nonce) != NONCE_SIZE:
        raise CryptoError("a nonce has the wrong length")
    with hchacha20(key, nonce[:16]) as subkey:
        return ChaCha20Poly1305(subkey.view()).encrypt(bytes(4) + nonce[16:], plaintext.view(), aad)


def open_into(key: SecretBytes, nonce: bytes, sealed: bytes, aad: bytes) -> SecretBytes:
    """The plaintext, in a wiped buffer. Raises AeadError."""
    if len(nonce) != NONCE_SIZE or len(sealed) < TAG_SIZE:
        raise AeadError
    opened = SecretBytes.zero(len(sealed) - TAG_SIZE)
    with hchacha20(key, nonce[:16]) as subkey:
        try:
            ChaCha20Poly1305(subkey.view()).decrypt_into(bytes(4) + nonce[16:], sealed, aad, opened.view())
        except InvalidTag:
            opened.wipe()
            raise AeadError from None
    return opened
