"""NIP-44 version 2: authenticated encryption between two keys, with the extended length prefix of 2026-06-28."""

from __future__ import annotations

import hmac
import os
from binascii import a2b_base64, b2a_base64
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keycast.crypto.ecdh import shared_x
from keycast.crypto.errors import SecretWiped
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes, view_of
from keycast.nostr.errors import NostrError

MAX_PLAINTEXT: Final = 640 * 1024
"""Longest plaintext, in bytes, that we encrypt or decrypt: a follow list of thousands as the text of a NIP-46 message.

NIP-44 itself allows 2^32 - 1."""
VERSION: Final = b"\x02"
_SALT: Final = b"nip44-v2"
_NONCE: Final = 32
_MAC: Final = 32
_MESSAGE_KEYS: Final = 76
_ZERO_KEYS: Final = bytes(_MESSAGE_KEYS)
_COUNTER: Final = bytes(4)
_EXTENDED_FROM: Final = 65_536
_SHA256: Final = SHA256()


class Nip44Error(NostrError):
    """A payload that does not decrypt, or a plaintext that may not be encrypted. The text never tells which step."""

    def __init__(self, message: str = "invalid NIP-44 payload") -> None:
        super().__init__(message)


def padded_length(size: int) -> int:
    """What ``size`` bytes (at least 1) are padded to, the length prefix not counted (NIP-44, calc_padded_len)."""
    if size <= 32:
        return 32
    next_power = 1 << (size - 1).bit_length()
    chunk = 32 if next_power <= 256 else next_power // 8
    return chunk * ((size - 1) // chunk + 1)


def payload_length(size: int) -> int:
    """How many characters the payload of a plaintext of ``size`` bytes has; to measure before encrypting."""
    prefix = 2 if size < _EXTENDED_FROM else 6
    return 4 * ((len(VERSION) + _NONCE + prefix + padded_length(size) + _MAC + 2) // 3)


MIN_PAYLOAD: Final = payload_length(1)
MAX_PAYLOAD: Final = payload_length(MAX_PLAINTEXT)


def conversation_key(secret: Keypair | SecretBytes, peer: bytes) -> SecretBytes:
    """The 32-byte key that two parties share for all their messages (NIP-44, get_conversation_key).

    Raises CryptoError when ``peer`` (32 bytes, x-only) is not on the curve.
    """
    with shared_x(secret, peer) as shared:
        return SecretBytes.adopt_bytes(hmac.digest(_SALT, shared.view(), "sha256"))


def encrypt(plaintext: str | bytes, conversation_key: SecretBytes, nonce: bytes | None = None) -> str:
    """The base64 payload of ``plaintext``, 1 to MAX_PLAINTEXT bytes of UTF-8.

    ``nonce`` (32 bytes) is for test vectors alone; it must never be used twice. Raises Nip44Error, SecretWiped.
    """
    padded = _pad(_utf8(plaintext))
    nonce = os.urandom(_NONCE) if nonce is None else nonce
    if type(nonce) is not bytes or len(nonce) != _NONCE:
        raise Nip44Error("a nonce has 32 bytes")
    keys = _message_keys(conversation_key, nonce)
    sealed = nonce + _chacha20(keys, padded)
    mac = hmac.digest(keys[44:], sealed, "sha256")
    keys[:] = _ZERO_KEYS
    return b2a_base64(b"".join((VERSION, sealed, mac)), newline=False).decode("ascii")


def decrypt(payload: str, conversation_key: SecretBytes, limit: int = MAX_PLAINTEXT) -> str:
    """The plaintext of a base64 payload, at most ``limit`` bytes. Raises Nip44Error, one for every cause; SecretWiped.

    Lengths are checked before anything is decoded, the MAC before anything is decrypted.
    """
    raw = _decoded(payload, limit)
    keys = _message_keys(conversation_key, raw[1:33])
    mac = hmac.digest(keys[44:], raw[1:-_MAC], "sha256")
    if not hmac.compare_digest(mac, raw[-_MAC:]):
        keys[:] = _ZERO_KEYS
        raise Nip44Error
    padded = _chacha20(keys, raw[33:-_MAC])
    keys[:] = _ZERO_KEYS
    try:
        return _unpad(padded, limit).decode()
    except UnicodeDecodeError:
        raise Nip44Error from None


def _utf8(plaintext: str | bytes) -> bytes:
    try:
        return plaintext.encode() if isinstance(plaintext, str) else plaintext
    except UnicodeEncodeError:
        raise Nip44Error("a plaintext is valid Unicode") from None


def _message_keys(conversation_key: SecretBytes, nonce: bytes) -> memoryview:
    """ChaCha20 key (32), ChaCha20 nonce (12) and HMAC key (32) of one message, in a buffer that the caller zeroes."""
    keys = bytearray(_MESSAGE_KEYS)
    HKDFExpand(_SHA256, _MESSAGE_KEYS, nonce).derive_into(view_of(conversation_key, 32), keys)
    if conversation_key.is_wiped:  # by another thread, meanwhile: the keys may come from zeros
        raise SecretWiped
    return memoryview(keys)


def _chacha20(keys: memoryview, data: bytes) -> bytes:
    return Cipher(ChaCha20(keys[:32], _COUNTER + keys[32:44]), None).encryptor().update(data)


def _decoded(payload: str, limit: int) -> bytes:
    longest = MAX_PAYLOAD if limit == MAX_PLAINTEXT else payload_length(limit)
    if not MIN_PAYLOAD <= len(payload) <= longest or payload[0] == "#":
        raise Nip44Error
    try:
        raw = a2b_base64(payload, strict_mode=True)
    except ValueError:
        raise Nip44Error from None
    if raw[:1] != VERSION or not _is_canonical(payload, raw):
        raise Nip44Error
    return raw


def _is_canonical(payload: str, raw: bytes) -> bool:
    """Whether base64 was written the one right way: four characters each three bytes, no stray bits at the end."""
    rest = len(raw) % 3 or 3
    return len(payload) % 4 == 0 and b2a_base64(raw[-rest:], newline=False) == payload[-4:].encode("ascii")


def _pad(plaintext: bytes) -> bytes:
    size = len(plaintext)
    if not 1 <= size <= MAX_PLAINTEXT:
        raise Nip44Error(f"a plaintext has 1 to {MAX_PLAINTEXT} bytes")
    prefix = size.to_bytes(2, "big") if size < _EXTENDED_FROM else bytes(2) + size.to_bytes(4, "big")
    return prefix + plaintext + bytes(padded_length(size) - size)


def _unpad(padded: bytes, limit: int) -> bytes:
    size, start = int.from_bytes(padded[:2], "big"), 2
    if size == 0:
        size, start = int.from_bytes(padded[2:6], "big"), 6
        if size < _EXTENDED_FROM:
            raise Nip44Error
    if size > limit or len(padded) != start + padded_length(size):
        raise Nip44Error
    return padded[start : start + size]
