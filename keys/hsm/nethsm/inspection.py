"""How the NetHSM looks from here, for operators. Changes nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inspection import newest
from keys.hsm.nethsm import access, calls
from keys.hsm.nethsm.config import NetHsmConfig
from keys.signing.reports import HsmReport


def reports() -> Iterator[HsmReport]:
    """The device, and the newest key in it."""
    yield _nethsm()
    yield newest("nethsm", "NetHSM key", "EC_P256K1, BIP340")


def _nethsm() -> HsmReport:
    name, config = "NetHSM", NetHsmConfig.from_settings()
    if problem := config.problem():
        return HsmReport(name, False, problem, "Set the KEYCAST_NETHSM_ variables (.env.example).")
    breaker = Breaker("NetHSM, doctor")
    mark = "EMULATED: protects nothing. " if settings.NETHSM_EMULATOR else ""
    try:
        state = calls.call_blocking(config, breaker, calls.NetHsmRequest("GET", "/health/state", None)).json()
        found = state.get("state") if isinstance(state, dict) else None
        if found != "Operational":
            return HsmReport(name, False, f"{mark}Its state is {found}.", "Unlock it, or provision it first.")
        return _roles(config, breaker, access.root(config), mark)
    except KeycastError as error:
        fix = "Check KEYCAST_NETHSM_URL, its certificate, and the network."
        return HsmReport(name, False, mark + error.public_message, fix)


def _roles(config: NetHsmConfig, breaker: Any, root: Any, mark: str) -> HsmReport:
    """The R-Administrator may look at namespaces, where there is one; operators are tried by the newest key."""
    if not config.admin_user:
        return HsmReport("NetHSM", True, f"{mark}Operational. No R-Administrator here: it makes no new namespaces.")
    wanted = calls.NetHsmRequest("GET", "/namespaces", root, frozenset({200, 401, 403}))
    if calls.call_blocking(config, breaker, wanted).status != 200:
        fix = "Check KEYCAST_NETHSM_ADMIN_USER and its password; it must be an R-Administrator."
        return HsmReport("NetHSM", False, f"{mark}Operational, but it refuses the administrator.", fix)
    return HsmReport("NetHSM", True, f"{mark}Operational, and it knows the administrator.")
