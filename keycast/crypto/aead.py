"""Sealing secrets at rest: AES-256-GCM (NIST SP 800-38D) with a versioned header and bound associated data.

A blob is ``version (1 byte = 0x01) ‖ nonce (12 bytes, random) ‖ ciphertext ‖ tag (16 bytes)``. The version is
authenticated together with the associated data, so a blob cannot be relabelled.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keycast.crypto.errors import AeadError, CryptoError, SecretWiped
from keycast.crypto.secret import SecretBytes, view_of

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
VERSION: Final = b"\x01"
_HEADER_SIZE: Final = len(VERSION) + NONCE_SIZE
OVERHEAD: Final = _HEADER_SIZE + TAG_SIZE
"""How many bytes a blob is longer than its plaintext."""
MAX_PLAINTEXT: Final = 1 << 20
"""Longest plaintext sealed or opened here, in bytes; secrets are short."""

__all__ = ["KEY_SIZE", "MAX_PLAINTEXT", "OVERHEAD", "AeadError", "open_into", "seal"]


def seal(key: SecretBytes, plaintext: SecretBytes | bytes | bytearray | memoryview, aad: bytes) -> bytes:
    """Seal ``plaintext`` under a 32-byte ``key``, bound to ``aad``; a fresh random nonce each time.

    One key may seal up to 2^32 blobs (SP 800-38D, 8.3). Raises CryptoError, SecretWiped.
    """
    data = plaintext.view() if isinstance(plaintext, SecretBytes) else memoryview(plaintext)
    if data.nbytes > MAX_PLAINTEXT:
        raise CryptoError("too long to seal")
    nonce = os.urandom(NONCE_SIZE)
    sealed = _cipher(key).encrypt(nonce, data, _bound(aad))
    _still_there(key, plaintext)
    return VERSION + nonce + sealed


def open_into(key: SecretBytes, blob: bytes | memoryview, aad: bytes) -> SecretBytes:
    """Open a blob that ``seal`` made under the same key and ``aad``, into a wiped buffer.

    Raises AeadError, the same for every cause: altered, cut, of another version, another key or another place.
    """
    view = memoryview(blob)
    if not OVERHEAD <= view.nbytes <= OVERHEAD + MAX_PLAINTEXT or view[0] != VERSION[0]:
        raise AeadError
    opened = SecretBytes.zero(view.nbytes - OVERHEAD)
    try:
        _cipher(key).decrypt_into(view[1:_HEADER_SIZE], view[_HEADER_SIZE:], _bound(aad), opened.view())
    except InvalidTag:
        opened.wipe()
        raise AeadError from None
    _still_there(key)
    return opened


def _cipher(key: SecretBytes) -> AESGCM:
    return AESGCM(view_of(key, KEY_SIZE))


def _bound(aad: bytes) -> bytes:
    if type(aad) is not bytes:
        raise TypeError("associated data is bytes")
    return VERSION + aad


def _still_there(*inputs: object) -> None:
    """Refuse what was computed while another thread wiped an input: it may have been computed from zeros."""
    if any(isinstance(item, SecretBytes) and item.is_wiped for item in inputs):
        raise SecretWiped
