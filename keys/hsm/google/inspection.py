"""How Cloud KMS looks from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from keycast.base.errors import KeycastError
from keys.hsm.google import calling, clients, names
from keys.hsm.google.identities import Identity
from keys.hsm.inspection import cosigner, newest
from keys.hsm_errors import HsmUnavailable
from keys.signing.reports import HsmReport

AUTHORISER_PERMISSIONS: Final = (
    "cloudkms.cryptoKeyVersions.useToSign",
    "cloudkms.cryptoKeyVersions.viewPublicKey",
)
KEEPER_PERMISSIONS: Final = (
    "cloudkms.cryptoKeys.create",
    "cloudkms.cryptoKeys.get",
    "cloudkms.cryptoKeys.list",
    "cloudkms.cryptoKeyVersions.list",
    "cloudkms.cryptoKeyVersions.get",
    "cloudkms.cryptoKeyVersions.update",
    "cloudkms.cryptoKeyVersions.destroy",
)
"""What each identity needs on the key ring (docs/hsm.md)."""
TOO_MUCH: Final = (
    "cloudkms.cryptoKeys.create",
    "cloudkms.cryptoKeys.setIamPolicy",
    "cloudkms.cryptoKeyVersions.create",
    "cloudkms.cryptoKeyVersions.update",
    "cloudkms.cryptoKeyVersions.destroy",
    "cloudkms.keyRings.setIamPolicy",
)
"""What the authoriser must not have: who has taken over a server could bring a disabled key back, or end all."""
SLOWEST: Final = 1.0
"""Seconds."""
_SECONDS: Final = 4.0
_ROLES: Final = "Grant each identity its role of docs/hsm.md on the key ring, and check KEYCAST_GCP_KEY_RING."


def reports() -> Iterator[HsmReport]:
    """The key ring as each identity sees it, the newest key in it, and the co-signer that authorisations are for."""
    yield _key_ring()
    yield _keeper()
    yield newest("google", "Cloud KMS key", "EC_SIGN_SECP256K1_SHA256 at protection level HSM")
    yield cosigner()


def _key_ring() -> HsmReport:
    name, ring = "Cloud KMS", settings.GCP_KEY_RING
    if not names.is_ring(ring):
        return HsmReport(name, False, "No key ring is named.", "Set KEYCAST_GCP_KEY_RING=projects/…/keyRings/…")
    began = time.perf_counter()
    try:
        granted = _granted(Identity.AUTHORISER, ring, (*AUTHORISER_PERMISSIONS, *TOO_MUCH))
    except KeycastError as error:
        return HsmReport(name, False, error.public_message, f"{_ROLES} Is there a way to cloudkms.googleapis.com?")
    took = time.perf_counter() - began
    detail = f"{'EMULATED: protects nothing. ' if settings.KMS_EMULATOR else ''}Answers in {took * 1000:.0f} ms."
    missing = [permission for permission in AUTHORISER_PERMISSIONS if permission not in granted]
    if missing:
        return HsmReport(name, False, f"{detail} Not permitted, or no such ring: {', '.join(missing)}.", _ROLES)
    return HsmReport(name, took <= SLOWEST, detail, "Choose a location nearer to this machine.")


def _keeper() -> HsmReport:
    name, ring = "Cloud KMS, two identities", settings.GCP_KEY_RING
    try:
        missing = set(KEEPER_PERMISSIONS) - _granted(Identity.KEEPER, ring, KEEPER_PERMISSIONS)
        much = _granted(Identity.AUTHORISER, ring, TOO_MUCH)
    except KeycastError as error:
        return HsmReport(name, False, error.public_message, _ROLES)
    if missing:
        return HsmReport(name, False, f"The keeper may not: {', '.join(sorted(missing))}.", _ROLES)
    if much and not _is_emulated():
        detail = f"The authoriser, which every server has, may also: {', '.join(sorted(much))}."
        return HsmReport(name, False, detail, "Take these from it: jobs have an identity of their own (docs/hsm.md).")
    return HsmReport(name, True, "The authoriser signs; the keeper, for jobs alone, makes and ends keys.", "")


def _is_emulated() -> bool:
    return bool(settings.KMS_EMULATOR)


def _granted(identity: Identity, ring: str, permissions: tuple[str, ...]) -> set[str]:
    """Those of ``permissions`` that the identity has on the ring. Raises keys.hsm_errors."""
    try:
        client: Any = clients.blocking_client(identity)
        wanted = {"resource": ring, "permissions": list(dict.fromkeys(permissions))}
        return set(client.test_iam_permissions(request=wanted, timeout=_SECONDS).permissions)
    except GoogleAPICallError as error:
        raise calling.as_keycast_error(error) from None
    except GoogleAuthError:
        raise HsmUnavailable("There are no credentials for Google Cloud.") from None
