"""The keys in OpenBao. Makes and changes nothing, and signs nothing."""

from __future__ import annotations

from typing import Final

from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inventory.listing import HsmKey, HsmKeyPage, HsmKeyVersion, HsmKeyVersionState
from keys.hsm.openbao import calls, names, transit
from keys.hsm.openbao.calls import BaoAnswer, BaoRequest
from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm_errors import HsmAnswerRefused

_NOT_FOUND: Final = frozenset({404})


class OpenBaoKeyReader:
    """An HsmKeyReader (keys.hsm.inventory.listing). All keys are one page."""

    reads_a_minute = 0
    can_look = True

    def __init__(self, breaker: Breaker | None = None) -> None:
        self._breaker = breaker or Breaker("OpenBao, inventory")

    def page(self, cursor: str) -> HsmKeyPage:
        """Every key of the engine; an engine without keys is status 404."""
        listed = self._call("LIST", "keys").data.get("keys", [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise HsmAnswerRefused from ValueError("no list of names")
        return HsmKeyPage([HsmKey(name, names.is_ours(name)) for name in sorted(set(listed))], "", len(listed))

    def look(self, name: str) -> HsmKey | None:
        """The key, which is its own only version. Raises HsmMisconfigured for a name that Keycast gives to none."""
        found = self._call("GET", f"keys/{names.ours(name)}")
        if found.status == 404:
            return None
        state = HsmKeyVersionState.DISABLED if transit.is_disabled(found.data) else HsmKeyVersionState.USABLE
        return HsmKey(name, is_ours=True, versions=(HsmKeyVersion(name, state, transit.is_right_kind(found.data)),))

    def public_key(self, version: str) -> bytes | None:
        """See keys.hsm.inventory.listing."""
        if not names.is_ours(version):
            return None
        found = self._call("GET", f"keys/{version}")
        try:
            return None if found.status == 404 else transit.public_key(found.data)
        except HsmAnswerRefused:
            return None

    def _call(self, method: str, path: str) -> BaoAnswer:
        config = OpenBaoConfig.from_settings()
        request = BaoRequest(method, f"{config.mount}/{path}", None, _NOT_FOUND, manages=True)
        return calls.call_blocking(config, self._breaker, request)
