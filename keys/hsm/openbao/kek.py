"""Key-encryption keys in OpenBao: a key of type aes256-gcm96 of its transit engine, which never leaves it.

Versions are those of that key. The associated data binds tenant, version and place; that the server honours it is tried
before the first use, for servers of before 1.9 did not know it and said nothing. Data keys pass through as text, which
this process cannot wipe everywhere; the secrets that they protect do not.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Self
from uuid import UUID

from django.conf import settings

from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.openbao import calls
from keys.hsm.openbao.calls import BaoAnswer, BaoRequest
from keys.hsm.openbao.config import OpenBaoConfig
from keys.signing.kms.protocol import WrappedDataKey

CURRENT_KEPT_SECONDS: Final = 60.0
PREFIX: Final = "openbao:"
_KEY_TYPE: Final = "aes256-gcm96"
_DOMAIN: Final = b"openbao\x00"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFUSED: Final = frozenset({400})
_TRIES: Final = 2


class OpenBaoKekProvider:
    """A KekProvider (keys.signing.kms.protocol). A version is ``openbao:NAME:vN``."""

    name = "openbao"
    blocking = True

    def __init__(self, key: str, breaker: Breaker | None = None) -> None:
        if not _NAME.fullmatch(key):
            raise KekUnavailable("KEYCAST_OPENBAO_KEK is not the name of a key: letters, digits, - and _.")
        self._key = key
        self._breaker = breaker or Breaker("OpenBao, key-encryption key")
        self._lock = threading.Lock()
        self._current: tuple[str, float] = ("", 0.0)
        self._binds = False

    @classmethod
    def from_settings(cls) -> Self:
        """With the key that ``KEYCAST_OPENBAO_KEK`` names."""
        return cls(settings.OPENBAO_KEK)

    def wrap(self, data_key: SecretBytes, *, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        version = self.current_version(tenant_id)
        self._require_binding(version)
        return WrappedDataKey(version, self._encrypt(version, bytes(data_key.view()), _bound(version, tenant_id, aad)))

    def unwrap(self, blob: bytes, *, kek_version: str, tenant_id: UUID, aad: bytes) -> SecretBytes:
        number = self.number_of(kek_version)
        if number is None:
            raise KekUnavailable("This was sealed under a key-encryption key that is not configured.")
        if not re.fullmatch(rb"vault:v%d:[A-Za-z0-9+/=]+" % number, blob):
            raise KeyDamaged
        plaintext = self._decrypt(blob, _bound(kek_version, tenant_id, aad))
        if plaintext is None:
            raise KeyDamaged
        return SecretBytes.adopt_bytes(plaintext)

    def current_version(self, tenant_id: UUID) -> str:
        with self._lock:
            version, read_at = self._current
        if version and time.monotonic() - read_at < CURRENT_KEPT_SECONDS:
            return version
        version = self.known_versions()[-1]
        with self._lock:
            self._current = (version, time.monotonic())
        return version

    def known_versions(self) -> tuple[str, ...]:
        """Every version that ``unwrap`` can open, oldest first; the same for every tenant."""
        # Read before anything is sealed: encrypting under a name that has no key may make one (docs/hsm.md).
        found = self._call("GET", f"keys/{self._key}", None, frozenset({404}))
        if found.status == 404:
            raise KekUnavailable(f"OpenBao has no key-encryption key {self._key}.")
        data = found.data
        latest, oldest = data.get("latest_version"), data.get("min_decryption_version")
        is_kept = data.get("exportable") is False and data.get("allow_plaintext_backup") is False
        if data.get("type") != _KEY_TYPE or not is_kept or not isinstance(latest, int) or not isinstance(oldest, int):
            raise KekUnavailable(f"The key-encryption key in OpenBao is not of type {_KEY_TYPE}, or may be taken out.")
        return tuple(f"{PREFIX}{self._key}:v{number}" for number in range(max(oldest, 1), latest + 1))

    def rotate(self) -> None:
        """Have OpenBao make another version. Needs who manages keys."""
        self._call("POST", f"keys/{self._key}/rotate", {}, manages=True)
        with self._lock:
            self._current = ("", 0.0)

    def number_of(self, version: str) -> int | None:
        """The number of a version of this key; None for any other."""
        found = re.fullmatch(rf"{PREFIX}{self._key}:v([1-9][0-9]{{0,8}})", version)
        return int(found[1]) if found else None

    def _require_binding(self, version: str) -> None:
        if self._binds:
            return
        probe = os.urandom(16)
        sealed = self._encrypt(version, probe, b"one place")
        if self._decrypt(sealed, b"one place") != probe or self._decrypt(sealed, b"another") is not None:
            raise KekUnavailable(
                "This OpenBao does not bind what it encrypts to associated data: a later one is needed."
            )
        self._binds = True

    def _encrypt(self, version: str, plaintext: bytes, bound: bytes) -> bytes:
        number = self.number_of(version)
        body = {"plaintext": _b64(plaintext), "associated_data": _b64(bound), "key_version": number}
        sealed = self._call("POST", f"encrypt/{self._key}", body).text("ciphertext")
        if not sealed.startswith(f"vault:v{number}:"):
            raise KekUnavailable("OpenBao sealed under another version than it was asked to.")
        return sealed.encode()

    def _decrypt(self, sealed: bytes, bound: bytes) -> bytes | None:
        """The plaintext; None when it does not open, asked twice: a fault on the way must not count as damage."""
        body = {"ciphertext": sealed.decode(), "associated_data": _b64(bound)}
        for _ in range(_TRIES):
            answer = self._call("POST", f"decrypt/{self._key}", body, _REFUSED)
            if answer.status == 200:
                try:
                    return base64.b64decode(answer.text("plaintext"), validate=True)
                except binascii.Error:
                    raise KekUnavailable("OpenBao answered nonsense.") from None
            if b"too old" in answer.refusal:
                raise KekUnavailable("A version of the key-encryption key is retired in OpenBao.")
        return None

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        answers: frozenset[int] = frozenset(),
        *,
        manages: bool = False,
    ) -> BaoAnswer:
        config = OpenBaoConfig.from_settings()
        request = BaoRequest(method, f"{config.mount}/{path}", body, answers, manages=manages)
        try:
            return calls.call_blocking(config, self._breaker, request)
        except KeycastError as error:
            raise KekUnavailable(f"The key-encryption key in OpenBao: {error.public_message}") from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bound(version: str, tenant_id: UUID, aad: bytes) -> bytes:
    label = version.encode()
    return _DOMAIN + bytes([len(label)]) + label + tenant_id.bytes + aad
