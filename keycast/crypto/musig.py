"""MuSig2 for exactly two signers, A and B, in that order (BIP-327), through libsecp256k1's own module.

A signature takes one round: each side draws a nonce (``make_nonce``), both public nonces make a ``MusigSession``, each
side signs its part (``partial_sign``), and the parts make one BIP-340 signature (``combine``). Repeating a secret nonce
for a second message would give away the half, so a ``SecretNonce`` is bound to one message and one aggregate, works
once, is overwritten before the partial signature is returned, and is useless after a fork.
"""

from __future__ import annotations

import os
import threading
from hashlib import sha256
from typing import Any, Final, Literal

from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError, SecretWiped, SignatureSelfCheckFailed
from keycast.crypto.points import parsed, public_point, serialised
from keycast.crypto.schnorr import Keypair, verify
from keycast.crypto.secret import wipe_bytes

Side = Literal["A", "B"]
PUBLIC_NONCE_SIZE: Final = 66
PARTIAL_SIZE: Final = 32
_SECRET_NONCE_SIZE: Final = 132
_ZEROS: Final = bytes(_SECRET_NONCE_SIZE)
_ONE: Final = (1).to_bytes(32, "big")
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of the group, n."""
STRUCT_SIZES: Final = {
    "secp256k1_musig_keyagg_cache": 197,
    "secp256k1_musig_secnonce": _SECRET_NONCE_SIZE,
    "secp256k1_musig_pubnonce": 132,
    "secp256k1_musig_aggnonce": 132,
    "secp256k1_musig_session": 133,
    "secp256k1_musig_partial_sig": 36,
}

for _name, _size in STRUCT_SIZES.items():
    if ffi.sizeof(_name) != _size:
        raise ImportError(f"libsecp256k1: {_name} does not have its known size")


class NonceSpent(CryptoError):
    """A secret nonce was used before, belongs to other work, or comes from before a fork."""

    def __init__(self) -> None:
        super().__init__("a nonce works once, for its own message, in its own process")


class KeyAggregate:
    """What two public keys and an optional public tweak make together. Public data, immutable, safe between threads.

    ``public_key`` is x-only (32 bytes). ``is_odd`` tells the parity of the aggregate before the tweak: the secret of
    the whole is ``-(sum of coefficient times half)`` then, plus the tweak (BIP-327, ApplyTweak).
    """

    __slots__ = ("_cache", "_parsed", "is_odd", "keys", "public_key", "tweak")

    def __init__(self, key_a: bytes, key_b: bytes, tweak: bytes | None = None) -> None:
        """From two different compressed points (33 bytes) and an x-only tweak (32 bytes). Raises CryptoError."""
        if key_a == key_b:
            raise CryptoError("the two keys must differ")
        self.keys = {"A": key_a, "B": key_b}
        self._parsed = {"A": parsed(key_a), "B": parsed(key_b)}
        self._cache = aggregated(list(self._parsed.values()))
        whole = ffi.new("secp256k1_pubkey *")
        lib.secp256k1_musig_pubkey_get(CONTEXT, whole, self._cache)
        self.is_odd = serialised(whole)[0] == 3
        self.tweak = _checked_tweak(tweak)
        if self.tweak and lib.secp256k1_musig_pubkey_xonly_tweak_add(CONTEXT, whole, self._cache, self.tweak) != 1:
            raise CryptoError("the tweak cannot be applied")
        self.public_key = serialised(whole)[1:]

    def side_of(self, half: Keypair) -> Side:
        """Whose half this is. Raises CryptoError when it is neither's, SecretWiped."""
        point = public_point(half)
        if point == self.keys["A"]:
            return "A"
        if point == self.keys["B"]:
            return "B"
        raise CryptoError("the half is not one of the aggregate's")

    def coefficient(self, side: Side) -> bytes:
        """The factor (32 bytes) of a side's key in the aggregate: 1 for the second key (BIP-327, KeyAggCoeff)."""
        if side == "B":
            return _ONE
        of_list = _tagged(b"KeyAgg list", self.keys["A"] + self.keys["B"])
        digest = _tagged(b"KeyAgg coefficient", of_list + self.keys[side])
        return (int.from_bytes(digest, "big") % ORDER).to_bytes(32, "big")


class SecretNonce:
    """One use, for one message under one aggregate, in this process only; the buffer is overwritten by that use."""

    __slots__ = ("__weakref__", "_aggregate", "_buffer", "_lock", "_message", "_pid", "half", "public")

    def __init__(self, buffer: Any, public: bytes, half: Keypair, aggregate: KeyAggregate, message: bytes) -> None:
        """Made by ``make_nonce`` alone; ``half`` is what it was drawn for, and what it signs with."""
        self.half = half
        self._buffer, self.public = buffer, public
        self._aggregate, self._message = aggregate, message
        self._pid, self._lock = os.getpid(), threading.Lock()
        _live[id(self)] = buffer

    def take(self, session: MusigSession) -> Any:
        """The buffer, given out once and only for its own session; ``partial_sign`` overwrites it."""
        own = session.aggregate is self._aggregate and session.message == self._message
        with self._lock:
            buffer, self._buffer = self._buffer, None
        if buffer is None or not own or self._pid != os.getpid() or self.public not in session.nonces.values():
            _erase(buffer)
            raise NonceSpent
        return buffer

    def wipe(self) -> None:
        """Overwrite it unused."""
        buffer, self._buffer = self._buffer, None
        _erase(buffer)

    def __del__(self) -> None:
        _live.pop(id(self), None)
        _erase(getattr(self, "_buffer", None))

    def __repr__(self) -> str:
        return "<SecretNonce>"

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("a nonce is never copied or serialised")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = _refuse


class MusigSession:
    """The public part of one signature: both nonces, the message (32 bytes) and the aggregate. Raises CryptoError."""

    __slots__ = ("_parsed", "_session", "aggregate", "message", "nonces")

    def __init__(self, aggregate: KeyAggregate, nonce_a: bytes, nonce_b: bytes, message: bytes) -> None:
        _check_message(message)
        if nonce_a == nonce_b:
            raise CryptoError("the two nonces must differ")
        self.aggregate, self.message = aggregate, message
        self.nonces = {"A": nonce_a, "B": nonce_b}
        self._parsed = {"A": parsed_nonce(nonce_a), "B": parsed_nonce(nonce_b)}
        self._session = processed(list(self._parsed.values()), message, aggregate._cache)


def make_nonce(
    half: Keypair, aggregate: KeyAggregate, message: bytes, extra: bytes | None = None
) -> tuple[SecretNonce, bytes]:
    """A fresh secret nonce for one message (32 bytes), and the public nonce (66 bytes) for the other side.

    Mixes fresh randomness with the half, the aggregate, the message and ``extra`` (32 bytes: what else tells this use
    from any other, so that a source of randomness that repeats itself repeats no nonce). Source: BIP-327, NonceGen,
    extra_in. Raises CryptoError.
    """
    return _drawn_nonce(half, aggregate, message, extra, fresh_randomness())


def fresh_randomness() -> bytes:
    """32 bytes that nobody has seen; wiped by who draws a nonce with them."""
    return os.urandom(32)


def _drawn_nonce(
    half: Keypair, aggregate: KeyAggregate, message: bytes, extra: bytes | None, randomness: bytes
) -> tuple[SecretNonce, bytes]:
    _check_message(message)
    if extra is not None:
        _check_message(extra)
    secret, public = ffi.new("secp256k1_musig_secnonce *"), ffi.new("secp256k1_musig_pubnonce *")
    side = aggregate.side_of(half)
    random_buffer = ffi.new("unsigned char[32]", randomness)  # libsecp256k1 overwrites it
    wipe_bytes(randomness)
    with half.secret() as key:
        made = lib.secp256k1_musig_nonce_gen(
            CONTEXT, secret, public, random_buffer, ffi.from_buffer(key.view()), aggregate._parsed[side], message,
            aggregate._cache, ffi.NULL if extra is None else extra,
        )  # fmt: skip
    if made != 1:
        raise CryptoError("no nonce")
    output = ffi.new("unsigned char[66]")
    lib.secp256k1_musig_pubnonce_serialize(CONTEXT, output, public)
    serial = bytes(ffi.buffer(output))
    _keep_parsed(serial, public)
    return SecretNonce(secret, serial, half, aggregate, message), serial


def partial_sign(nonce: SecretNonce, session: MusigSession) -> bytes:
    """This side's part (32 bytes) of the signature, by the half that ``nonce`` was drawn for.

    ``nonce`` is overwritten before this returns, whatever happens. Raises NonceSpent, SecretWiped, CryptoError.
    """
    buffer = nonce.take(session)
    try:
        return sign_with(buffer, nonce.half, session.aggregate._cache, session._session)
    finally:
        _erase(buffer)
        _live.pop(id(nonce), None)


def verify_partial(session: MusigSession, side: Side, partial: bytes) -> bool:
    """Whether ``partial`` (32 bytes) is that side's part. Malformed is False. Source: BIP-327, PartialSigVerify."""
    part = _parsed_partial(partial)
    if part is None:
        return False
    nonce, key = session._parsed[side], session.aggregate._parsed[side]
    cache = session.aggregate._cache
    return bool(lib.secp256k1_musig_partial_sig_verify(CONTEXT, part, nonce, key, cache, session._session) == 1)


def combine(session: MusigSession, partial_a: bytes, partial_b: bytes) -> bytes:
    """The 64-byte signature, verified under BIP-340. Raises SignatureSelfCheckFailed; nothing is released then."""
    signature = combine_unchecked(session, partial_a, partial_b)
    if not verify(session.aggregate.public_key, session.message, signature):
        raise SignatureSelfCheckFailed
    return signature


def combine_unchecked(session: MusigSession, partial_a: bytes, partial_b: bytes) -> bytes:
    """Like ``combine``, for who verifies the signature before releasing it anyway. Raises CryptoError."""
    return summed([partial_a, partial_b], session._session)


def aggregated(keys: list[Any]) -> Any:
    """The key aggregation cache of parsed points in this order (BIP-327, KeyAgg). Raises CryptoError."""
    cache = ffi.new("secp256k1_musig_keyagg_cache *")
    pointers = ffi.new("secp256k1_pubkey *[]", keys)
    if lib.secp256k1_musig_pubkey_agg(CONTEXT, ffi.NULL, cache, pointers, len(keys)) != 1:
        raise CryptoError("the keys cannot be aggregated")
    return cache


def checked_nonce(nonce: bytes) -> None:
    """Raise CryptoError for what is no public nonce, before anything is done for it; the session finds it parsed."""
    _keep_parsed(nonce, parsed_nonce(nonce))


def parsed_nonce(nonce: bytes) -> Any:
    """A public nonce (66 bytes) as libsecp256k1 holds it. Raises CryptoError."""
    if type(nonce) is not bytes or len(nonce) != PUBLIC_NONCE_SIZE:
        raise CryptoError("not a public nonce")
    known = _parsed_nonces.pop(nonce, None)
    if known is not None:
        return known
    output = ffi.new("secp256k1_musig_pubnonce *")
    if lib.secp256k1_musig_pubnonce_parse(CONTEXT, output, nonce) != 1:
        raise CryptoError("not a public nonce")
    return output


def _keep_parsed(nonce: bytes, parsed_as: Any) -> None:
    """For the session that comes next: a point is decompressed once. Public data; what nobody fetches is dropped."""
    if len(_parsed_nonces) >= _NONCES_KEPT:
        _parsed_nonces.clear()
    _parsed_nonces[nonce] = parsed_as


def processed(nonces: list[Any], message: bytes, cache: Any) -> Any:
    """The session of parsed public nonces (BIP-327, NonceAgg and GetSessionValues). Raises CryptoError."""
    together, session = ffi.new("secp256k1_musig_aggnonce *"), ffi.new("secp256k1_musig_session *")
    pointers = ffi.new("secp256k1_musig_pubnonce *[]", nonces)
    if (
        lib.secp256k1_musig_nonce_agg(CONTEXT, together, pointers, len(nonces)) != 1
        or lib.secp256k1_musig_nonce_process(CONTEXT, session, together, message, cache) != 1
    ):
        raise CryptoError("the nonces cannot be used")
    return session


def sign_with(nonce: Any, half: Keypair, cache: Any, session: Any) -> bytes:
    """The partial signature by a nonce buffer that nobody has used; libsecp256k1 zeroes the buffer itself."""
    part, output = ffi.new("secp256k1_musig_partial_sig *"), ffi.new("unsigned char[32]")
    with half._lock:
        # A zeroed keypair would make libsecp256k1 abort the process, so wiping and signing exclude each other.
        if half.is_wiped:
            raise SecretWiped
        if lib.secp256k1_musig_partial_sign(CONTEXT, part, nonce, half._keypair, cache, session) != 1:
            raise CryptoError("signing failed")
    lib.secp256k1_musig_partial_sig_serialize(CONTEXT, output, part)
    return bytes(ffi.buffer(output))


def summed(partials: list[bytes], session: Any) -> bytes:
    """The signature that partial signatures make (BIP-327, PartialSigAgg), not verified. Raises CryptoError."""
    parts = [_parsed_partial(partial) for partial in partials]
    if None in parts:
        raise CryptoError("not a partial signature")
    output, pointers = ffi.new("unsigned char[64]"), ffi.new("secp256k1_musig_partial_sig *[]", parts)
    if lib.secp256k1_musig_partial_sig_agg(CONTEXT, output, session, pointers, len(parts)) != 1:
        raise CryptoError("the partial signatures cannot be combined")
    return bytes(ffi.buffer(output))


def _parsed_partial(partial: bytes) -> Any | None:
    if type(partial) is not bytes or len(partial) != PARTIAL_SIZE:
        return None
    output = ffi.new("secp256k1_musig_partial_sig *")
    return output if lib.secp256k1_musig_partial_sig_parse(CONTEXT, output, partial) == 1 else None


def _checked_tweak(tweak: bytes | None) -> bytes | None:
    if tweak is None:
        return None
    if type(tweak) is not bytes or len(tweak) != 32 or not 0 < int.from_bytes(tweak, "big") < ORDER:
        raise CryptoError("not a tweak")
    return tweak


def _check_message(message: bytes) -> None:
    if type(message) is not bytes or len(message) != 32:
        raise CryptoError("only 32-byte digests are signed")


def _tagged(tag: bytes, data: bytes) -> bytes:
    """SHA-256 with a tag (BIP-340, hash_tag)."""
    digest = sha256(tag).digest()
    return sha256(digest + digest + data).digest()


def _erase(buffer: Any) -> None:
    if buffer is not None:
        ffi.memmove(buffer, _ZEROS, _SECRET_NONCE_SIZE)


_NONCES_KEPT: Final = 1024
_parsed_nonces: dict[bytes, Any] = {}
_live: dict[int, Any] = {}


def _after_fork() -> None:
    for buffer in list(_live.values()):
        _erase(buffer)
    _live.clear()


os.register_at_fork(after_in_child=_after_fork)
