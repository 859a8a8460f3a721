"""NIP-04: AES-256-CBC without authentication. For the ``nip04_*`` methods, and to read a client's first ``connect``.

Nothing is sent to a client with it. Whoever may call ``decrypt`` with payloads of their choosing has a padding oracle
by design, so policies leave these methods off unless the owner grants them; a client that sends ``connect`` has such an
oracle for its own messages alone.
"""

from __future__ import annotations

import os
from binascii import a2b_base64, b2a_base64
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from keycast.crypto.ecdh import shared_x
from keycast.crypto.errors import SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes, view_of
from keycast.nostr.errors import NostrError

MAX_PLAINTEXT: Final = 128 * 1024
"""Longest plaintext, in bytes, that we encrypt or decrypt."""
_BLOCK: Final = 16
_SEPARATOR: Final = "?iv="
_IV_TEXT: Final = 24
_MAX_PAYLOAD: Final = 4 * ((MAX_PLAINTEXT + _BLOCK + 2) // 3) + len(_SEPARATOR) + _IV_TEXT


class Nip04Error(NostrError):
    """A payload that does not decrypt, or a plaintext that may not be encrypted. The text never tells which step."""

    def __init__(self, message: str = "invalid NIP-04 payload") -> None:
        super().__init__(message)


def shared_key(secret: Keypair | SecretBytes, peer: bytes) -> SecretBytes:
    """The AES key of two parties: the x coordinate itself, unhashed. Raises CryptoError (peer not on the curve)."""
    return shared_x(secret, peer)


def encrypt(plaintext: str, shared_key: SecretBytes, iv: bytes | None = None) -> str:
    """``<base64 ciphertext>?iv=<base64 iv>`` of 1 to MAX_PLAINTEXT bytes of UTF-8; ``iv`` is for tests alone.

    Raises Nip04Error, SecretWiped.
    """
    padder = PKCS7(8 * _BLOCK).padder()
    padded = padder.update(_utf8(plaintext)) + padder.finalize()
    iv = os.urandom(_BLOCK) if iv is None else iv
    encryptor = _cipher(shared_key, iv).encryptor()
    sealed = encryptor.update(padded) + encryptor.finalize()
    _still_there(shared_key)
    return _to_base64(sealed) + _SEPARATOR + _to_base64(iv)


def decrypt(payload: str, shared_key: SecretBytes) -> str:
    """The plaintext, never empty. Raises Nip04Error, the same for every cause, and SecretWiped."""
    sealed, iv = _split(payload)
    decryptor = _cipher(shared_key, iv).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    _still_there(shared_key)
    unpadder = PKCS7(8 * _BLOCK).unpadder()
    try:
        plaintext = (unpadder.update(padded) + unpadder.finalize()).decode()
    except ValueError:
        raise Nip04Error from None
    if not plaintext:
        raise Nip04Error
    return plaintext


def _utf8(plaintext: str) -> bytes:
    try:
        data = plaintext.encode()
    except UnicodeEncodeError:
        raise Nip04Error("a plaintext is valid Unicode") from None
    if not 1 <= len(data) <= MAX_PLAINTEXT:
        raise Nip04Error(f"a plaintext has 1 to {MAX_PLAINTEXT} bytes")
    return data


def _split(payload: str) -> tuple[bytes, bytes]:
    if len(payload) > _MAX_PAYLOAD or payload.count(_SEPARATOR) != 1:
        raise Nip04Error
    body, _, iv_text = payload.partition(_SEPARATOR)
    try:
        sealed, iv = a2b_base64(body, strict_mode=True), a2b_base64(iv_text, strict_mode=True)
    except ValueError:
        raise Nip04Error from None
    if len(iv) != _BLOCK or not sealed or len(sealed) % _BLOCK:
        raise Nip04Error
    return sealed, iv


def _cipher(shared_key: SecretBytes, iv: bytes) -> Cipher[CBC]:
    return Cipher(AES256(view_of(shared_key, 32)), CBC(iv))


def _to_base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _still_there(shared_key: SecretBytes) -> None:
    """Refuse what may have been computed from zeros, because another thread wiped the key meanwhile."""
    if shared_key.is_wiped:
        raise SecretWiped
