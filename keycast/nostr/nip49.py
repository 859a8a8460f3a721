"""NIP-49: a secret key under a password (``ncryptsec1...``), scrypt and XChaCha20-Poly1305."""

from __future__ import annotations

import os
import unicodedata
from threading import BoundedSemaphore
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from keycast.crypto import xchacha
from keycast.crypto.errors import AeadError, CryptoError
from keycast.crypto.secret import SecretBytes, view_of
from keycast.nostr import bech32
from keycast.nostr.errors import NostrError

VERSION: Final = 2
MAX_LOG_N: Final = 20
"""scrypt takes 2^log_n KiB of memory and as many rounds: 1 GiB at 20."""
DEFAULT_LOG_N: Final = 16
SECURITY_UNKNOWN: Final = 2
"""The key security byte of a client that does not track how a key was handled."""
MAX_PASSWORD: Final = 1024
SALT_SIZE: Final = 16
_SALT: Final = slice(2, 18)
_NONCE: Final = slice(18, 42)
_AAD: Final = slice(42, 43)
_SEALED: Final = slice(43, 91)
_SIZE: Final = 91
_WAIT_SECONDS: Final = 20.0
_one_at_a_time: Final = BoundedSemaphore()


class Nip49Error(NostrError):
    """A text that does not open. ``code`` is ``malformed``, ``too-costly``, ``wrong-password`` or ``busy``."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(f"invalid encrypted key: {code}")


def decrypt(ncryptsec: str, password: str, max_log_n: int = MAX_LOG_N) -> SecretBytes:
    """The 32-byte secret key, whose range is not checked here.

    The cost is read and bounded before any of it is spent, and only one key is derived at a time in a process; this
    blocks for up to seconds, so call it from a thread. Raises Nip49Error.
    """
    data = check_cost(ncryptsec, max_log_n)
    with _derived(password, data[_SALT], data[1]) as key:
        try:
            return xchacha.open_into(key, data[_NONCE], data[_SEALED], data[_AAD])
        except AeadError:
            raise Nip49Error("wrong-password") from None


def check_cost(ncryptsec: str, max_log_n: int = MAX_LOG_N) -> bytes:
    """The decoded text, of which nothing was spent yet. Raises Nip49Error for what is malformed or too costly."""
    data = _decoded(ncryptsec)
    if not 1 <= data[1] <= max_log_n:
        raise Nip49Error("too-costly")
    return data


def encrypt(
    secret: SecretBytes, password: str, log_n: int = DEFAULT_LOG_N, key_security: int = SECURITY_UNKNOWN
) -> str:
    """``ncryptsec1...`` of a 32-byte secret key. Raises Nip49Error, CryptoError."""
    view_of(secret, 32)
    if not 1 <= log_n <= MAX_LOG_N:
        raise Nip49Error("too-costly")
    if key_security not in {0, 1, 2}:
        raise CryptoError("the key security byte is 0, 1 or 2")
    salt = os.urandom(SALT_SIZE)
    with _derived(password, salt, log_n) as key:
        return seal_under(key, secret, salt, log_n, key_security)


def derive(password: str, salt: bytes, log_n: int) -> SecretBytes:
    """The 32-byte key of a password, which costs 2^log_n KiB of memory (scrypt, r = 8, p = 1). Raises Nip49Error."""
    if len(salt) != SALT_SIZE or not 1 <= log_n <= MAX_LOG_N:
        raise Nip49Error("too-costly")
    return _derived(password, salt, log_n)


def seal_under(
    key: SecretBytes, secret: SecretBytes, salt: bytes, log_n: int, key_security: int = SECURITY_UNKNOWN
) -> str:
    """``ncryptsec1...`` under a key that ``derive`` made of this salt and cost. Opened again before it is returned."""
    nonce, aad = os.urandom(xchacha.NONCE_SIZE), bytes([key_security])
    sealed = xchacha.seal(key, nonce, secret, aad)
    with xchacha.open_into(key, nonce, sealed, aad) as opened:
        if opened != secret:
            raise CryptoError("what was sealed does not open again")
    return bech32.encode("ncryptsec", bytes([VERSION, log_n]) + salt + nonce + aad + sealed)


def _decoded(ncryptsec: str) -> bytes:
    try:
        data = bytes(bech32.decode("ncryptsec", ncryptsec))
    except bech32.Bech32Error:
        raise Nip49Error("malformed") from None
    if len(data) != _SIZE or data[0] != VERSION:
        raise Nip49Error("malformed")
    return data


def _derived(password: str, salt: bytes, log_n: int) -> SecretBytes:
    normal = _normalised(password)
    if not _one_at_a_time.acquire(timeout=_WAIT_SECONDS):
        raise Nip49Error("busy")
    try:
        key = SecretBytes.zero(32)
        Scrypt(salt, 32, n=1 << log_n, r=8, p=1).derive_into(normal, key.view())
    except MemoryError:
        raise Nip49Error("too-costly") from None
    finally:
        _one_at_a_time.release()
        normal[:] = bytes(len(normal))
    return key


def _normalised(password: str) -> bytearray:
    """The password in Unicode NFKC, UTF-8, so that it is the same from every keyboard (NIP-49)."""
    if len(password) > MAX_PASSWORD:
        raise Nip49Error("malformed")
    try:
        return bytearray(unicodedata.normalize("NFKC", password).encode())
    except UnicodeEncodeError:
        raise Nip49Error("malformed") from None
