"""How the HSMs and the co-signer that the settings name look from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django_scopes import scopes_disabled

from keycast.base.errors import KeycastError
from keys.hsm import registration
from keys.hsm.protocol import HsmKeyPhase
from keys.models import KeyState, PersonalKey, Provider

if TYPE_CHECKING:
    from keys.hsm.nethsm.config import Config

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


@dataclass(frozen=True, slots=True)
class HsmReport:
    """One look; ``fix`` says what to do when it is not ok."""

    name: str
    is_ok: bool
    detail: str
    fix: str = ""


def reports() -> Iterator[HsmReport]:
    """One for each thing that HSM keys of this deployment need; none where no HSM is set up."""
    if Provider.GOOGLE in settings.HSM_PROVIDERS:
        yield _key_ring()
        yield _newest(Provider.GOOGLE, "Cloud KMS key", "EC_SIGN_SECP256K1_SHA256 at protection level HSM")
        yield _cosigner()
    if Provider.NETHSM in settings.HSM_PROVIDERS:
        yield _nethsm()
        yield _newest(Provider.NETHSM, "NetHSM key", "EC_P256K1, BIP340")


def _key_ring() -> HsmReport:
    from keys.hsm.google import names  # noqa: PLC0415

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
    """Of PERMISSIONS; where nobody can be asked (the emulator), the ring is listed instead. Raises keys.hsm.errors."""
    from google.api_core.exceptions import GoogleAPICallError, MethodNotImplemented  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    from keys.hsm.errors import HsmUnavailable  # noqa: PLC0415
    from keys.hsm.google import calling, clients  # noqa: PLC0415

    client: Any = clients.blocking_client()
    try:
        try:
            wanted = {"resource": ring, "permissions": list(PERMISSIONS)}
            granted = set(client.test_iam_permissions(request=wanted, timeout=_SECONDS).permissions)
        except MethodNotImplemented:
            client.list_crypto_keys(request={"parent": ring, "page_size": 1}, retry=None, timeout=_SECONDS)
            return []
    except GoogleAPICallError as error:
        raise calling.translated(error) from None
    except GoogleAuthError:
        raise HsmUnavailable("There are no credentials for Google Cloud.") from None
    return [permission for permission in PERMISSIONS if permission not in granted]


def _newest(provider: str, name: str, kind: str) -> HsmReport:
    """The newest active key of a provider is in the HSM as it should be."""
    with scopes_disabled():
        keys = PersonalKey.objects.filter(key_mode="hsm", provider=provider, state=KeyState.ACTIVE)
        key: PersonalKey | None = keys.order_by("-created_at").first()
    keeper = registration.keepers().get(provider)
    if key is None or keeper is None:
        return HsmReport(name, True, "There is none yet to look at.")
    try:
        status = keeper.check(key.kms_key_name)
    except KeycastError as error:
        return HsmReport(name, False, error.public_message, "See the line above; then look at the HSM's own log.")
    if status.phase is not HsmKeyPhase.READY:
        fix = "If nobody disabled it on purpose, enable it in the HSM again."
        return HsmReport(name, False, f"The newest one is {status.phase.value}. {status.reason}".strip(), fix)
    return HsmReport(name, True, f"The newest one is enabled ({kind}).")


def _cosigner() -> HsmReport:
    from keys.signing.cosigning.client import blocking  # noqa: PLC0415

    began = time.perf_counter()
    try:
        blocking(lambda client: client.ping())
    except KeycastError as error:
        fix = "Run manage.py cosigner (embedded: the server runs it), and check KEYCAST_COSIGNER_SOCKET or _ADDRESS."
        return HsmReport("co-signer", False, error.public_message, fix)
    return HsmReport("co-signer", True, f"Answers in {(time.perf_counter() - began) * 1000:.0f} ms.")


def _nethsm() -> HsmReport:
    from keys.hsm.circuit_breaker import Breaker  # noqa: PLC0415
    from keys.hsm.nethsm import access, calls  # noqa: PLC0415
    from keys.hsm.nethsm.config import Config  # noqa: PLC0415

    name, config = "NetHSM", Config.from_settings()
    if problem := config.problem():
        return HsmReport(name, False, problem, "Set the KEYCAST_NETHSM_ variables (.env.example).")
    breaker = Breaker("NetHSM, doctor")
    mark = "EMULATED: protects nothing. " if settings.NETHSM_EMULATOR else ""
    try:
        state = calls.call_blocking(config, breaker, calls.Call("GET", "/health/state", None)).json()
        found = state.get("state") if isinstance(state, dict) else None
        if found != "Operational":
            return HsmReport(name, False, f"{mark}Its state is {found}.", "Unlock it, or provision it first.")
        return _roles(config, breaker, access.root(config), mark)
    except KeycastError as error:
        fix = "Check KEYCAST_NETHSM_URL, its certificate, and the network."
        return HsmReport(name, False, mark + error.public_message, fix)


def _roles(config: Config, breaker: Any, root: Any, mark: str) -> HsmReport:
    """The R-Administrator may look at namespaces, where there is one; operators are tried by the newest key."""
    from keys.hsm.nethsm import calls  # noqa: PLC0415

    if not config.admin_user:
        return HsmReport("NetHSM", True, f"{mark}Operational. No R-Administrator here: it makes no new namespaces.")
    wanted = calls.Call("GET", "/namespaces", root, frozenset({200, 401, 403}))
    if calls.call_blocking(config, breaker, wanted).status != 200:
        fix = "Check KEYCAST_NETHSM_ADMIN_USER and its password; it must be an R-Administrator."
        return HsmReport("NetHSM", False, f"{mark}Operational, but it refuses the administrator.", fix)
    return HsmReport("NetHSM", True, f"{mark}Operational, and it knows the administrator.")
