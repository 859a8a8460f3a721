"""BIP-340 Schnorr signatures over secp256k1, through libsecp256k1."""

from __future__ import annotations

import os
from functools import lru_cache
from threading import RLock
from typing import Any, Final, Self

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError, SecretWiped, SignatureSelfCheckFailed
from keycast.crypto.secret import SecretBytes, view_of

PUBLIC_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
MESSAGE_SIZE: Final = 32
_KEYPAIR_SIZE: Final = 96
_ZEROS: Final = bytes(_KEYPAIR_SIZE)


@lru_cache(maxsize=4096)
def _parsed(public_key: bytes) -> Any | None:
    """The key as libsecp256k1 holds it, or None when no curve point has this x coordinate (BIP-340 lift_x)."""
    parsed = ffi.new("secp256k1_xonly_pubkey *")
    return parsed if lib.secp256k1_xonly_pubkey_parse(CONTEXT, parsed, public_key) == 1 else None


def is_public_key(public_key: bytes) -> bool:
    """Whether these are the 32 bytes of an x-only public key: lift_x succeeds (BIP-340, Verification 1)."""
    return type(public_key) is bytes and len(public_key) == PUBLIC_KEY_SIZE and _parsed(public_key) is not None


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is ``public_key``'s (32 bytes, x-only) over ``message``, of any length.

    Anything malformed is simply False. Source: BIP-340, Verification.
    """
    if type(public_key) is not bytes or type(message) is not bytes or type(signature) is not bytes:
        return False
    if len(public_key) != PUBLIC_KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    parsed = _parsed(public_key)
    if parsed is None:
        return False
    return bool(lib.secp256k1_schnorrsig_verify(CONTEXT, signature, message, len(message), parsed) == 1)


class Keypair:
    """A secret key with its public key, in libsecp256k1's own form, in one buffer that is wiped.

    ``public_key`` is the x-only key (32 bytes). Deleting the object wipes it; ``wipe()`` does so now. May be shared
    between threads.
    """

    __slots__ = ("__weakref__", "_keypair", "_lock", "_wiped", "_xonly", "public_key", "public_key_hex")

    public_key: bytes
    public_key_hex: str
    _keypair: Any
    _lock: RLock
    _wiped: bool
    _xonly: Any

    def __init__(self) -> None:
        raise TypeError("use Keypair.from_secret or Keypair.generate")

    @classmethod
    def from_secret(cls, secret: SecretBytes | bytearray | memoryview) -> Self:
        """The keypair of a 32-byte secret, which stays the caller's to wipe. Raises CryptoError when out of range."""
        view = view_of(secret, 32)
        self = cls.__new__(cls)
        self._lock = RLock()
        self._keypair = ffi.new("secp256k1_keypair *")
        self._wiped = False
        if lib.secp256k1_keypair_create(CONTEXT, self._keypair, ffi.from_buffer(view)) != 1:
            self.wipe()
            raise CryptoError("the secret key is out of range")
        self._xonly = _xonly_of(self._keypair)
        self.public_key = _serialized(self._xonly)
        self.public_key_hex = self.public_key.hex()
        if isinstance(secret, SecretBytes) and secret.is_wiped:
            self.wipe()
            raise SecretWiped
        return self

    @classmethod
    def generate(cls) -> tuple[Self, SecretBytes]:
        """A fresh keypair and its secret."""
        while True:
            secret = SecretBytes.random(32)
            try:
                return cls.from_secret(secret), secret
            except CryptoError:  # once in 2^127 draws
                secret.wipe()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over 32 bytes, with fresh auxiliary randomness, verified before it is returned.

        Verifying guards against faults that would otherwise leak the key. Raises SignatureSelfCheckFailed (nothing
        is released) and SecretWiped. Source: BIP-340, Default Signing.
        """
        with self._lock:
            signature = self.sign_unchecked(message)
            if lib.secp256k1_schnorrsig_verify(CONTEXT, signature, message, MESSAGE_SIZE, self._xonly) != 1:
                raise SignatureSelfCheckFailed
        return signature

    def sign_unchecked(self, message: bytes) -> bytes:
        """Like ``sign``, without the check of the result, at a third of the cost.

        Only for a transport key's replies: every relay and client verifies those, and that key signs nothing that
        speaks for a user.
        """
        if type(message) is not bytes or len(message) != MESSAGE_SIZE:
            raise CryptoError("only 32-byte digests are signed")
        signature = ffi.new("unsigned char[64]")
        with self._lock:
            # A zeroed keypair would make libsecp256k1 abort the process, so wiping and signing exclude each other.
            if self._wiped:
                raise SecretWiped
            if lib.secp256k1_schnorrsig_sign32(CONTEXT, signature, message, self._keypair, os.urandom(32)) != 1:
                raise CryptoError("signing failed")
        return bytes(ffi.buffer(signature))

    def secret(self) -> SecretBytes:
        """A copy of the secret key, which the caller wipes."""
        secret = SecretBytes.zero(32)
        with self._lock:
            if self._wiped:
                raise SecretWiped
            lib.secp256k1_keypair_sec(CONTEXT, ffi.from_buffer(secret.view()), self._keypair)
        return secret

    @property
    def is_wiped(self) -> bool:
        """Whether ``wipe()`` has been called."""
        return self._wiped

    def wipe(self) -> None:
        """Overwrite the secret; signing raises SecretWiped from now on."""
        with self._lock:
            self._erase()

    def _erase(self) -> None:
        self._wiped = True
        ffi.memmove(self._keypair, _ZEROS, _KEYPAIR_SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __del__(self) -> None:
        # Without the lock: nobody else can hold this object, but a fork may have left its lock taken for ever.
        if not getattr(self, "_wiped", True):
            self._erase()

    def __repr__(self) -> str:
        return f"<Keypair {self.public_key_hex[:8]}>"

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("a keypair is never copied or serialised")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = _refuse


def _xonly_of(keypair: Any) -> Any:
    xonly = ffi.new("secp256k1_xonly_pubkey *")
    lib.secp256k1_keypair_xonly_pub(CONTEXT, xonly, ffi.NULL, keypair)
    return xonly


def _serialized(xonly: Any) -> bytes:
    output = ffi.new("unsigned char[32]")
    lib.secp256k1_xonly_pubkey_serialize(CONTEXT, output, xonly)
    return bytes(ffi.buffer(output))


def self_test() -> None:
    """Sign and verify BIP-340's test vector 1, and refuse it altered; raises ImportError when anything differs."""
    secret = bytearray.fromhex("b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef")
    public_key = bytes.fromhex("dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659")
    message = bytes.fromhex("243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89")
    signature = bytes.fromhex(
        "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de3341"
        "8906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a"
    )
    output = ffi.new("unsigned char[64]")
    with Keypair.from_secret(secret) as keypair:
        aux = (1).to_bytes(32, "big")
        lib.secp256k1_schnorrsig_sign32(CONTEXT, output, message, keypair._keypair, aux)
        made = bytes(ffi.buffer(output)) == signature and keypair.public_key == public_key
        own = keypair.sign(message)
    altered = signature[:-1] + bytes([signature[-1] ^ 1])
    told = verify(public_key, message, signature) and verify(public_key, message, own)
    if not made or not told or verify(public_key, message, altered):
        raise ImportError("libsecp256k1 fails BIP-340's test vector: refusing to start")


self_test()
