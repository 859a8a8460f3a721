"""Makes, looks at and ends key pairs in a token. Blocks: for jobs and commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from django.conf import settings

from keycast.crypto import authoriser_keys
from keycast.crypto.authoriser_keys import Curve
from keycast.crypto.errors import CryptoError
from keys.errors import NoCapability
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.pkcs11 import keypairs, names
from keys.hsm.pkcs11.client import client
from keys.hsm.pkcs11.config import Pkcs11Config
from keys.hsm.pkcs11.failures import FailureKind, failure_of
from keys.hsm.pkcs11.library import p11
from keys.hsm.pkcs11.token import Token
from keys.hsm.protocol import HsmKeyPhase, HsmKeyStatus, PendingHsmKey
from keys.hsm_errors import HsmAnswerRefused, HsmKeyUnusable, HsmMisconfigured
from keys.signing.cosigning.messages import NO_PROOF, HsmProof

T = TypeVar("T")

_PROOF: Final = b"keycast/pkcs11/proof-of-possession/v1"


class Pkcs11KeyManager:
    """An HsmKeyManager (keys.hsm.protocol) for one token. A key's name is its label, and its only version."""

    def __init__(self, breaker: Breaker | None = None) -> None:
        self._breaker = breaker or Breaker("PKCS#11, administration")

    def create(self, name_id: str) -> PendingHsmKey:
        """Make the key pair of this label unless it is there. Tokens allow any number of keys of one label."""
        self._run("C_GenerateKeyPair", partial(_create, _ours(name_id), Pkcs11Config.from_settings().curve))
        return PendingHsmKey(name_id)

    def check(self, name: str) -> HsmKeyStatus:
        """See keys.hsm.protocol. READY means that the key has just signed, and that the signature verifies."""
        return self._run("C_FindObjects", partial(_check, _ours(name)))

    def public_key(self, version: str) -> bytes:
        """The public key, with its curve (keycast.crypto.authoriser_keys). Raises keys.hsm_errors."""
        label = _ours(version)
        return self._run("C_GetAttributeValue", lambda _, session: keypairs.public_key(session, label))

    def disable(self, version: str) -> None:
        """Take CKA_SIGN away. Whoever manages keys may give it back. Raises NoCapability where the token cannot."""
        self._set_sign(version, False)

    def enable(self, version: str) -> None:
        """Give CKA_SIGN back. Raises NoCapability where the token cannot."""
        self._set_sign(version, True)

    def destroy(self, version: str) -> None:
        """Delete the key pair, at once and for good. Safe to repeat."""
        label = _ours(version)
        self._run("C_DestroyObject", lambda _, session: keypairs.destroy(session, label))

    def proof(self, name: str) -> HsmProof:
        """None: PKCS#11 has no attestation, so the co-signer's operator says yes, or lets it trust the first."""
        return NO_PROOF

    def versions(self, name: str) -> list[str]:
        """The key itself, or none when there is none."""
        label = _ours(name)
        found = self._run("C_FindObjects", lambda _, session: len(keypairs.private_keys(session, label)))
        return [name] if found else []

    def _set_sign(self, version: str, wanted: bool) -> None:
        if not settings.PKCS11_CAN_DISABLE:
            raise NoCapability("This HSM cannot disable a single key; Keycast itself refuses to use a disabled one.")
        self._run("C_SetAttributeValue", partial(_set_sign, _ours(version), wanted))

    def _run(self, what: str, work: Callable[[Token, Any], T]) -> T:
        return client().call_blocking(self._breaker, what, work)


def _ours(label: str) -> str:
    """Nothing else in the token is ever made, changed or destroyed. Raises HsmMisconfigured."""
    if not names.is_ours(label):
        raise HsmMisconfigured("This is not the name of a key in the HSM.")
    return label


def _create(label: str, curve: Curve, token: Token, session: Any) -> None:
    if keypairs.private_keys(session, label):
        return
    made = keypairs.generate(session, label, curve)
    # Another process may have done the same meanwhile. Whoever sees two takes its own back: then the next run finds
    # one, or none and makes it.
    if len(keypairs.private_keys(session, label)) > 1:
        made.destroy()


def _check(label: str, token: Token, session: Any) -> HsmKeyStatus:
    found = keypairs.private_keys(session, label)
    if not found:
        return HsmKeyStatus(HsmKeyPhase.MISSING)
    if len(found) > 1:  # two runs made it at the same time, and one is about to take its own back
        return HsmKeyStatus(HsmKeyPhase.PENDING)
    if not keypairs.is_right_kind(found[0]):
        return HsmKeyStatus(HsmKeyPhase.FAILED, label, reason="The HSM has a key of another kind under this name.")
    if not keypairs.may_sign(found[0]):
        return HsmKeyStatus(HsmKeyPhase.FAILED, label, reason="The key in the HSM is disabled.")
    public_key = keypairs.public_key(session, label)
    _prove(found[0], public_key)
    return HsmKeyStatus(HsmKeyPhase.READY, label, public_key)


def _prove(key: Any, public_key: bytes) -> None:
    """Have the key sign what can be no authorisation. Raises HsmAnswerRefused unless it verifies."""
    digest = hashlib.sha256(_PROOF + os.urandom(32)).digest()
    try:
        signature = authoriser_keys.normalise(public_key, bytes(key.sign(digest, mechanism=p11.Mechanism.ECDSA)))
    except CryptoError:
        raise HsmAnswerRefused from None
    if not authoriser_keys.verify(public_key, digest, signature):
        raise HsmAnswerRefused


def _set_sign(label: str, wanted: bool, token: Token, session: Any) -> None:
    found = keypairs.private_keys(session, label)
    if len(found) != 1:
        raise HsmKeyUnusable
    if keypairs.may_sign(found[0]) is wanted:
        return
    try:
        found[0][p11.Attribute.SIGN] = wanted
    except p11.exceptions.PKCS11Error as error:
        if failure_of(error).kind is FailureKind.REFUSED:
            raise NoCapability("This HSM cannot disable a single key (KEYCAST_PKCS11_CAN_DISABLE=0).") from None
        raise
