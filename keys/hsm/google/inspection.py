"""How Cloud KMS looks from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from google.api_core.exceptions import GoogleAPICallError, MethodNotImplemented
from google.auth.exceptions import GoogleAuthError

from keycast.base.errors import KeycastError
from keys.hsm.google import calling, clients, names
from keys.hsm.inspection import cosigner, newest
from keys.hsm_errors import HsmUnavailable
from keys.signing.reports import HsmReport

PERMISSIONS: Final = (
    "cloudkms.cryptoKeys.create",
    "cloudkms.cryptoKeys.get",
    "cloudkms.cryptoKeys.list",
    "cloudkms.cryptoKeyVersions.list",
    "cloudkms.cryptoKeyVersions.get",
    "cloudkms.cryptoKeyVersions.viewPublicKey",
    "cloudkms.cryptoKeyVersions.useToSign",
    "cloudkms.cryptoKeyVersions.update",
    "cloudkms.cryptoKeyVersions.destroy",
)
"""What Keycast needs on the key ring (docs/hsm.md)."""
SLOWEST: Final = 1.0
"""Seconds."""
_SECONDS: Final = 4.0
_ROLES: Final = "Grant the roles of docs/hsm.md on the key ring, and check KEYCAST_GCP_KEY_RING."


def reports() -> Iterator[HsmReport]:
    """The key ring, the newest key in it, and the co-signer that its authorisations are for."""
    yield _key_ring()
    yield newest("google", "Cloud KMS key", "EC_SIGN_SECP256K1_SHA256 at protection level HSM")
    yield cosigner()


def _key_ring() -> HsmReport:
    name, ring = "Cloud KMS", settings.GCP_KEY_RING
    if not names.is_ring(ring):
        return HsmReport(name, False, "No key ring is named.", "Set KEYCAST_GCP_KEY_RING=projects/…/keyRings/…")
    began = time.perf_counter()
    try:
        missing = _missing_permissions(ring)
    except KeycastError as error:
        return HsmReport(name, False, error.public_message, f"{_ROLES} Is there a way to cloudkms.googleapis.com?")
    took = time.perf_counter() - began
    detail = f"{'EMULATED: protects nothing. ' if settings.KMS_EMULATOR else ''}Answers in {took * 1000:.0f} ms."
    if missing:
        return HsmReport(name, False, f"{detail} Not permitted, or no such ring: {', '.join(missing)}.", _ROLES)
    return HsmReport(name, took <= SLOWEST, detail, "Choose a location nearer to this machine.")


def _missing_permissions(ring: str) -> list[str]:
    """Of PERMISSIONS; where nobody can be asked (the emulator), the ring is listed instead. Raises keys.hsm_errors."""
    client: Any = clients.blocking_client()
    try:
        try:
            wanted = {"resource": ring, "permissions": list(PERMISSIONS)}
            granted = set(client.test_iam_permissions(request=wanted, timeout=_SECONDS).permissions)
        except MethodNotImplemented:
            client.list_crypto_keys(request={"parent": ring, "page_size": 1}, retry=None, timeout=_SECONDS)
            return []
    except GoogleAPICallError as error:
        raise calling.as_keycast_error(error) from None
    except GoogleAuthError:
        raise HsmUnavailable("There are no credentials for Google Cloud.") from None
    return [permission for permission in PERMISSIONS if permission not in granted]
