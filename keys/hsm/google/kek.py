"""Key-encryption keys in Google Cloud KMS: it wraps and unwraps data keys and never hands a key out.

The associated data binds tenant, key version and place (keys.signing.kms.protocol). Data keys pass through Google's
library as ``bytes``, which this process cannot wipe everywhere; the secrets that they protect do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from django.conf import settings
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import kms_v1

from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm.calling import run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import clients, names, responses
from keys.hsm.google.calling import Code, code_of, course
from keys.signing.kms.protocol import WrappedDataKey

T = TypeVar("T")
PRIMARY_KEPT_SECONDS: Final = 60.0
_DOMAIN: Final = b"google\x00"


class GoogleKekProvider:
    """A KekProvider (keys.signing.kms.protocol) over one symmetric Cloud KMS key; its versions are the versions here.

    A version is a full resource name. Rotation happens in Cloud KMS: a new primary version is used within a minute.
    """

    name = "google"
    blocking = True

    def __init__(self, key: str, breaker: Breaker | None = None) -> None:
        if not names.is_key(key):
            raise KekUnavailable("KEYCAST_GCP_KEK is not the name of a key: projects/…/cryptoKeys/….")
        self._key = key
        self._breaker = breaker or Breaker("Cloud KMS, key-encryption key")
        self._lock = threading.Lock()
        self._primary: tuple[str, float] = ("", 0.0)

    @classmethod
    def from_settings(cls) -> Self:
        """With the key that ``KEYCAST_GCP_KEK`` names."""
        return cls(settings.GCP_KEK)

    def wrap(self, data_key: SecretBytes, *, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        version = self.current_version(tenant_id)
        try:
            return self._encrypt(data_key, version, tenant_id, aad)
        except GoogleAPICallError:  # the version was retired since it was looked up
            with self._lock:
                self._primary = ("", 0.0)
            return self._encrypt_again(data_key, version, tenant_id, aad)

    def unwrap(self, blob: bytes, *, kek_version: str, tenant_id: UUID, aad: bytes) -> SecretBytes:
        if names.key_of(kek_version) != self._key:
            raise KekUnavailable("This was sealed under a key-encryption key that is not configured.")
        bound = _bound(kek_version, tenant_id, aad)
        request = kms_v1.DecryptRequest(
            name=self._key,
            ciphertext=blob,
            ciphertext_crc32c=responses.checksum(blob),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=responses.checksum(bound),
        )
        try:
            plaintext = self._run("decrypt", request, lambda found: responses.payload(found, "plaintext"))
        except GoogleAPICallError as error:
            if code_of(error) is Code.INVALID_ARGUMENT:
                raise KeyDamaged from None  # refused twice in succession (keys.hsm.google.calling)
            raise KekUnavailable("A version of the key-encryption key is disabled in Cloud KMS.") from None
        return SecretBytes.adopt_bytes(plaintext)

    def current_version(self, tenant_id: UUID) -> str:
        with self._lock:
            version, read_at = self._primary
        if version and time.monotonic() - read_at < PRIMARY_KEPT_SECONDS:
            return version
        version = self._read_primary()
        with self._lock:
            self._primary = (version, time.monotonic())
        return version

    def _encrypt(self, data_key: SecretBytes, version: str, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        bound, plaintext = _bound(version, tenant_id, aad), bytes(data_key.view())
        request = kms_v1.EncryptRequest(
            name=version,
            plaintext=plaintext,
            plaintext_crc32c=responses.checksum(plaintext),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=responses.checksum(bound),
        )

        def checked(response: Any) -> WrappedDataKey:
            responses.about(response, version)
            is_verified = response.verified_plaintext_crc32c and response.verified_additional_authenticated_data_crc32c
            responses.must(is_verified, "a checksum was not verified")
            return WrappedDataKey(version, responses.payload(response, "ciphertext"))

        return self._run("encrypt", request, checked)

    def _encrypt_again(self, data_key: SecretBytes, stale: str, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        version = self.current_version(tenant_id)
        try:
            if version != stale:
                return self._encrypt(data_key, version, tenant_id, aad)
        except GoogleAPICallError:
            pass
        raise KekUnavailable("The key-encryption key is disabled in Cloud KMS.")

    def _read_primary(self) -> str:
        def checked(response: Any) -> str:
            responses.about(response, self._key)
            responses.must(names.key_of(response.primary.name) == self._key, "no primary version of this key")
            return str(response.primary.name)

        try:
            return self._run("get_crypto_key", kms_v1.GetCryptoKeyRequest(name=self._key), checked)
        except GoogleAPICallError:
            raise KekUnavailable("The key-encryption key does not exist in Cloud KMS.") from None

    def _run(self, method: str, request: Any, check: Callable[[Any], T]) -> T:
        """Raises KekUnavailable, or GoogleAPICallError with one of the codes that callers understand."""
        understood = frozenset({Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND})
        try:
            call = getattr(clients.blocking_client(), method)
            tries = course(self._breaker, method, understood)
            return run_blocking(tries, lambda seconds: check(call(request=request, retry=None, timeout=seconds)))
        except KeycastError as error:
            raise KekUnavailable(f"The key-encryption key in Cloud KMS: {error.public_message}") from None


def _bound(version: str, tenant_id: UUID, aad: bytes) -> bytes:
    label = version.encode()
    return _DOMAIN + bytes([len(label)]) + label + tenant_id.bytes + aad
