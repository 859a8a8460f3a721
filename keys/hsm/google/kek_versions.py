"""Versions of the key-encryption key in Google Cloud KMS: made and made primary by the genuine client.

With the keeper's identity, which needs ``cloudkms.cryptoKeyVersions.create``, ``…get``, ``…list``, ``…update`` and
``cloudkms.cryptoKeys.get``, ``…update`` on the one key (docs/hsm.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from django.conf import settings
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import kms_v1
from google.protobuf import field_mask_pb2

from keycast.base.errors import KeycastError
from keys.errors import KekUnavailable
from keys.hsm.calling import run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import clients, names
from keys.hsm.google.calling import course
from keys.hsm.google.identities import Identity
from keys.hsm.google.kek import PRIMARY_KEPT_SECONDS
from keys.signing.kms import registry

T = TypeVar("T")
State = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
GENERATION_SECONDS: Final = 30.0
_breaker: Final = Breaker("Cloud KMS, versions of the key-encryption key")


class GoogleKekVersions:
    """A KekVersionManager (keys.signing.kms.versions) over one symmetric key; a version is a full resource name."""

    settle_seconds = PRIMARY_KEPT_SECONDS + 5.0

    def __init__(self, key: str) -> None:
        if not names.is_key(key):
            raise KekUnavailable("KEYCAST_GCP_KEK is not the name of a key: projects/…/cryptoKeys/….")
        self._key = key

    def problem(self) -> str:
        return ""

    def plan(self) -> Mapping[str, str]:
        return {"before": self._primary()}

    def make(self, plan: Mapping[str, str]) -> str:
        """The version after the one that was primary: one that a killed run left, or a new one."""
        primary = self._primary()
        if primary == plan["before"]:
            primary = self._made_after(primary) or self._create()
            self._make_primary(primary)
        registry.reset()  # this process forgets at once which version was primary
        return primary

    def others(self) -> tuple[str, ...]:
        primary = self._primary()
        return tuple(version.name for version in self._enabled() if version.name != primary)

    def by_hand(self, version: str) -> str:
        if settings.KEK_PROVIDER == "google":
            return ""
        return f"Nothing is sealed under {version}, and fresh secrets are sealed elsewhere. Disable it in Cloud KMS."

    def is_settled(self) -> bool:
        return True  # a version that was disabled too early can be enabled again: nothing is lost

    def archive(self, version: str, path: Path) -> None:
        raise KekUnavailable("Cloud KMS keeps its versions itself: a disabled one can be enabled again.")

    def retire(self, version: str) -> None:
        """Disable it. It can be enabled again, and is destroyed by hand when no backup needs it any more."""
        if names.key_of(version) != self._key or version == self._primary():
            raise KekUnavailable("This is not an old version of the key-encryption key.")
        wanted = kms_v1.CryptoKeyVersion(name=version, state=State.DISABLED)
        mask = field_mask_pb2.FieldMask(paths=["state"])
        request = kms_v1.UpdateCryptoKeyVersionRequest(crypto_key_version=wanted, update_mask=mask)
        self._run("update_crypto_key_version", request, lambda found: found)

    def _primary(self) -> str:
        found = self._run("get_crypto_key", kms_v1.GetCryptoKeyRequest(name=self._key), lambda key: key.primary.name)
        if names.key_of(found) != self._key:
            raise KekUnavailable("The key-encryption key has no primary version in Cloud KMS.")
        return str(found)

    def _enabled(self) -> list[Any]:
        request = kms_v1.ListCryptoKeyVersionsRequest(parent=self._key)
        found = self._run("list_crypto_key_versions", request, list)
        return sorted((each for each in found if each.state == State.ENABLED), key=lambda each: _number(each.name))

    def _made_after(self, version: str) -> str | None:
        newer = [each.name for each in self._enabled() if _number(each.name) > _number(version)]
        return newer[-1] if newer else None

    def _create(self) -> str:
        request = kms_v1.CreateCryptoKeyVersionRequest(parent=self._key, crypto_key_version=kms_v1.CryptoKeyVersion())
        made = self._run("create_crypto_key_version", request, lambda found: found)
        until = time.monotonic() + GENERATION_SECONDS
        while made.state != State.ENABLED:
            if time.monotonic() > until:
                raise KekUnavailable("Cloud KMS is still generating the new version of the key-encryption key.")
            time.sleep(0.5)
            again = kms_v1.GetCryptoKeyVersionRequest(name=made.name)
            made = self._run("get_crypto_key_version", again, lambda found: found)
        return str(made.name)

    def _make_primary(self, version: str) -> None:
        request = kms_v1.UpdateCryptoKeyPrimaryVersionRequest(
            name=self._key, crypto_key_version_id=str(_number(version))
        )
        self._run("update_crypto_key_primary_version", request, lambda found: found)

    def _run(self, method: str, request: Any, check: Callable[[Any], T]) -> T:
        try:
            call = getattr(clients.blocking_client(Identity.KEEPER), method)
            tries = course(_breaker, method, frozenset())
            return run_blocking(tries, lambda seconds: check(call(request=request, retry=None, timeout=seconds)))
        except KeycastError as error:
            raise KekUnavailable(f"The key-encryption key in Cloud KMS: {error.public_message}") from None
        except GoogleAPICallError as error:
            raise KekUnavailable(f"The key-encryption key in Cloud KMS: {type(error).__name__}.") from None


def _number(version: str) -> int:
    return int(version.rpartition("/")[2])
