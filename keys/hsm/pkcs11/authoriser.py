"""Authorises a digest with the user's own key in a token."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from keycast.crypto import authoriser_keys
from keycast.crypto.errors import CryptoError
from keys.errors import KeyDamaged
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.pkcs11 import keypairs
from keys.hsm.pkcs11.calling import UnverifiableSignature
from keys.hsm.pkcs11.client import client
from keys.hsm.pkcs11.failures import FailureKind, failure_of
from keys.hsm.pkcs11.library import p11
from keys.hsm.pkcs11.token import Token
from keys.refs import HsmRef

_DIGEST_SIZE: Final = 32


class Pkcs11Authoriser:
    """An Authoriser (keys.signing.protocol). One for a process; used from any event loop of it."""

    provider = "pkcs11"

    def __init__(self, breaker: Breaker | None = None) -> None:
        self.breaker = breaker or Breaker("PKCS#11, signing")

    async def authorise(self, hsm: HsmRef, digest: bytes) -> bytes:
        """See keys.signing.protocol.Authoriser."""
        public_key = _public_key(hsm)
        if len(digest) != _DIGEST_SIZE:
            raise ValueError("a digest is 32 bytes")
        work = partial(_sign, hsm.key_name, digest, public_key)
        return await client().call(self.breaker, "C_Sign", work)


def _sign(label: str, digest: bytes, public_key: bytes, token: Token, session: Any) -> bytes:
    """On the module's thread; also the verification, so that an answer is used or asked for again as one call."""
    key = token.signing_key(session, label, keypairs.the_signing_key)
    try:
        signature = key.sign(digest, mechanism=p11.Mechanism.ECDSA)
    except p11.exceptions.PKCS11Error as error:
        # A handle outlives its key: the key may have been destroyed, or restored, by another process.
        is_gone = failure_of(error).kind is FailureKind.KEY
        if not (token.forget_handle(label) and is_gone):
            raise
        signature = token.signing_key(session, label, keypairs.the_signing_key).sign(
            digest, mechanism=p11.Mechanism.ECDSA
        )
    return _verified(bytes(signature), digest, public_key)


def _verified(signature: bytes, digest: bytes, public_key: bytes) -> bytes:
    """``r ‖ s`` (CKM_ECDSA, PKCS#11 v2.40, section 2.3.1) in its low-S form, if it is this key's."""
    try:
        compact = authoriser_keys.normalise(public_key, signature)
    except CryptoError as error:
        raise UnverifiableSignature from error
    if not authoriser_keys.verify(public_key, digest, compact):
        raise UnverifiableSignature
    return compact


def _public_key(hsm: HsmRef) -> bytes:
    """The stored public key, if the reference is one of a finished key. Raises KeyDamaged."""
    try:
        public_key = bytes.fromhex(hsm.authoriser)
        authoriser_keys.curve_of(public_key)
    except (ValueError, CryptoError):
        raise KeyDamaged from None
    if not hsm.key_name or hsm.key_version != hsm.key_name:
        raise KeyDamaged
    return public_key
