"""Key-encryption keys in a token: AES-256-GCM there (CKM_AES_GCM), with keys that cannot leave it.

Versions are keys of their own, labelled ``BASE-1``, ``BASE-2`` and so on; the one with the highest number seals. What
is sealed is ``0x01 ‖ nonce (12) ‖ ciphertext ‖ tag (16)``, bound to tenant, version and place. Data keys pass through
python-pkcs11 as ``bytes``, which this process cannot wipe everywhere; the secrets that they protect do not.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from django.conf import settings

from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.pkcs11.client import client
from keys.hsm.pkcs11.failures import FailureKind, TokenFailure
from keys.hsm.pkcs11.library import p11
from keys.hsm.pkcs11.token import Token
from keys.signing.kms.protocol import WrappedDataKey

T = TypeVar("T")
CURRENT_KEPT_SECONDS: Final = 60.0
PREFIX: Final = "pkcs11:"
_DOMAIN: Final = b"pkcs11\x00"
_FORMAT: Final = b"\x01"
_NONCE_SIZE: Final = 12
_TAG_BITS: Final = 128
_BASE: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_KEY_SIZE: Final = 32


class Pkcs11KekProvider:
    """A KekProvider (keys.signing.kms.protocol). A version is ``pkcs11:`` and the label of its key."""

    name = "pkcs11"
    blocking = True

    def __init__(self, base: str, breaker: Breaker | None = None) -> None:
        if not _BASE.fullmatch(base):
            raise KekUnavailable("KEYCAST_PKCS11_KEK is not the beginning of a label: letters, digits and - _ .")
        self._base = base
        self._breaker = breaker or Breaker("PKCS#11, key-encryption key")
        self._lock = threading.Lock()
        self._current: tuple[str, float] = ("", 0.0)

    @classmethod
    def from_settings(cls) -> Self:
        """With the label that ``KEYCAST_PKCS11_KEK`` begins."""
        return cls(settings.PKCS11_KEK)

    def wrap(self, data_key: SecretBytes, *, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        version = self.current_version(tenant_id)
        bound, nonce, plaintext = _bound(version, tenant_id, aad), os.urandom(_NONCE_SIZE), bytes(data_key.view())

        def work(token: Token, session: Any) -> bytes:
            return _crypt(token, session, version, "encrypt", nonce, bound, plaintext)

        return WrappedDataKey(version, _FORMAT + nonce + self._run("C_Encrypt", work))

    def unwrap(self, blob: bytes, *, kek_version: str, tenant_id: UUID, aad: bytes) -> SecretBytes:
        if number_of(kek_version, self._base) is None:
            raise KekUnavailable("This was sealed under a key-encryption key that is not configured.")
        if len(blob) <= 1 + _NONCE_SIZE + _TAG_BITS // 8 or blob[:1] != _FORMAT:
            raise KeyDamaged
        bound, nonce, sealed = _bound(kek_version, tenant_id, aad), blob[1 : 1 + _NONCE_SIZE], blob[1 + _NONCE_SIZE :]

        def work(token: Token, session: Any) -> bytes:
            try:
                return _crypt(token, session, kek_version, "decrypt", nonce, bound, sealed)
            except p11.exceptions.PKCS11Error:
                # Tokens tell a wrong tag by many values, also by those of a token that fails. One that seals and opens
                # something else now is well: then it is what was given to it.
                probe = os.urandom(_NONCE_SIZE)
                made = _crypt(token, session, kek_version, "encrypt", probe, bound, probe)
                if _crypt(token, session, kek_version, "decrypt", probe, bound, made) == probe:
                    raise KeyDamaged from None
                raise

        return SecretBytes.adopt_bytes(self._run("C_Decrypt", work))

    def current_version(self, tenant_id: UUID) -> str:
        with self._lock:
            version, read_at = self._current
        if version and time.monotonic() - read_at < CURRENT_KEPT_SECONDS:
            return version
        found = self.known_versions()
        if not found:
            raise KekUnavailable(f"The token has no key-encryption key {self._base}-1 (docs/hsm.md).")
        with self._lock:
            self._current = (found[-1], time.monotonic())
        return found[-1]

    def known_versions(self) -> tuple[str, ...]:
        """Every version that ``unwrap`` can open, oldest first; the same for every tenant."""
        return self._run("C_FindObjects", lambda _, session: versions(session, self._base))

    def make(self, number: int) -> str:
        """Make the key of this number unless it is there; its version. Needs who manages keys."""
        version = f"{PREFIX}{self._base}-{number}"

        def work(token: Token, session: Any) -> None:
            if version not in versions(session, self._base):
                _generate(session, label_of(version))

        self._run("C_GenerateKey", work, manages=True)
        with self._lock:
            self._current = ("", 0.0)
        return version

    def _run(self, what: str, work: Callable[[Token, Any], T], *, manages: bool = False) -> T:
        try:
            return client().call_blocking(self._breaker, what, work, manages=manages)
        except KeyDamaged:
            raise
        except KeycastError as error:
            raise KekUnavailable(f"The key-encryption key in the token: {error.public_message}") from None


def versions(session: Any, base: str) -> tuple[str, ...]:
    """Every version of use, oldest first."""
    wanted = {p11.Attribute.CLASS: p11.ObjectClass.SECRET_KEY, p11.Attribute.KEY_TYPE: p11.KeyType.AES}
    found = [f"{PREFIX}{key[p11.Attribute.LABEL]}" for key in session.get_objects(wanted) if _is_right_kind(key)]
    numbered = {number: version for version in found if (number := number_of(version, base)) is not None}
    return tuple(numbered[number] for number in sorted(numbered))


def number_of(version: str, base: str) -> int | None:
    """The number of a version with this base; None for any other."""
    found = re.fullmatch(rf"{re.escape(PREFIX + base)}-([1-9][0-9]{{0,5}})", version)
    return int(found[1]) if found else None


def label_of(version: str) -> str:
    """The key's label in the token."""
    return version.removeprefix(PREFIX)


def _crypt(token: Token, session: Any, version: str, operation: str, nonce: bytes, bound: bytes, data: bytes) -> bytes:
    key = token.signing_key(session, version, _find)
    parameters = p11.GCMParams(nonce, bound, _TAG_BITS)
    try:
        return bytes(getattr(key, operation)(data, mechanism=p11.Mechanism.AES_GCM, mechanism_param=parameters))
    except p11.exceptions.PKCS11Error:
        token.forget_handle(version)  # it may be of a key that is gone
        raise


def _find(session: Any, version: str) -> Any:
    wanted = {p11.Attribute.CLASS: p11.ObjectClass.SECRET_KEY, p11.Attribute.LABEL: label_of(version)}
    found = [key for key in session.get_objects(wanted) if _is_right_kind(key)]
    if len(found) != 1:
        raise TokenFailure(FailureKind.KEY, f"{len(found)} key-encryption keys of this label")
    return found[0]


def _is_right_kind(key: Any) -> bool:
    """Whether it is AES-256, cannot leave the token, and may seal and open."""
    attribute = p11.Attribute
    try:
        is_kept = key[attribute.SENSITIVE] is True and key[attribute.EXTRACTABLE] is False
        return is_kept and key[attribute.VALUE_LEN] == _KEY_SIZE and hasattr(key, "encrypt") and hasattr(key, "decrypt")
    except p11.exceptions.AttributeTypeInvalid:
        return False


def _generate(session: Any, label: str) -> None:
    session.generate_key(
        p11.KeyType.AES,
        8 * _KEY_SIZE,
        label=label,
        store=True,
        capabilities=p11.MechanismFlag.ENCRYPT | p11.MechanismFlag.DECRYPT,
        template={p11.Attribute.PRIVATE: True, p11.Attribute.SENSITIVE: True, p11.Attribute.EXTRACTABLE: False},
    )


def _bound(version: str, tenant_id: UUID, aad: bytes) -> bytes:
    label = version.encode()
    return _DOMAIN + bytes([len(label)]) + label + tenant_id.bytes + aad
