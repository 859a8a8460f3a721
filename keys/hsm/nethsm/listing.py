"""The keys in a NetHSM, namespace by namespace. Makes no namespace and no user, and signs nothing."""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inventory.listing import HsmKey, HsmKeyPage, HsmKeyVersion, HsmKeyVersionState
from keys.hsm.nethsm import access, calls, names
from keys.hsm.nethsm.calls import JSON, PEM, NetHsmRequest, NetHsmResponse
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm.nethsm.keeper import is_ours
from keys.hsm.nethsm.provider import PROVIDER
from keys.hsm_errors import HsmAnswerRefused, HsmForbidden, HsmMisconfigured
from keys.models import PersonalKey

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a list: some 150,000 keys in one namespace."""
_NAMESPACE: Final = re.compile(r"t[0-9a-f]{32}")
_KEY: Final = re.compile(r"k[0-9a-f]{32}")
_FOUND: Final = frozenset({200, 404})
_PERHAPS: Final = frozenset({200, 401, 403, 404})


class NetHsmKeyReader:
    """A Stock (keys.hsm.inventory.listing). A page is a namespace; the cursor is the one before it."""

    reads_a_minute = 0
    can_look = True

    def __init__(self, config: NetHsmConfig | None = None, breaker: Breaker | None = None) -> None:
        self._config = config or NetHsmConfig.from_settings()
        self._breaker = breaker or Breaker("NetHSM, inventory")

    def page(self, cursor: str) -> HsmKeyPage:
        """The keys of the namespace after ``cursor``; the first page also says which ones are not ours."""
        self._config.require(self._config.problem())
        spaces = self._namespaces()
        unseen = [] if cursor else [f"namespace {name}: not one of Keycast's" for name in spaces if not _is_space(name)]
        left = [name for name in spaces if _is_space(name) and name > cursor]
        if not left:
            return HsmKeyPage([], "", unseen=unseen)
        here = left[0]
        keys = self._keys_in(here)
        if keys is None:
            unseen.append(f"namespace {here}: it does not let Keycast's administrator look")
        held = [HsmKey(f"{here}~{key_id}", _KEY.fullmatch(key_id) is not None) for key_id in keys or []]
        return HsmKeyPage(held, here if len(left) > 1 else "", unseen=unseen)

    def look(self, name: str) -> HsmKey | None:
        """The key, which is its own only version."""
        found = self._get(name, "")
        if found.status == 404:
            return None
        return HsmKey(
            name, is_ours=True, versions=(HsmKeyVersion(name, HsmKeyVersionState.USABLE, is_ours(found.json())),)
        )

    def public_key(self, version: str) -> bytes | None:
        """See keys.hsm.inventory.listing."""
        found = self._get(version, "/public.pem")
        try:
            return ecdsa.public_key_from_pem(found.body.decode()) if found.status == 200 else None
        except (CryptoError, UnicodeDecodeError):
            return None

    def _namespaces(self) -> list[str]:
        """All that the device has, or, without an R-Administrator, those in which the database has keys; in order."""
        if not self._config.admin_user:
            return sorted(names.namespace_of(tenant_id) for tenant_id in _tenants())
        listed: Any = self._call(NetHsmRequest("GET", "/namespaces", access.root(self._config))).json()
        return sorted(_ids(listed))

    def _keys_in(self, namespace: str) -> list[str] | None:
        """The ids of a namespace's keys; None when it does not let us look."""
        user = access.administrator(self._config, namespace)
        found = self._call(NetHsmRequest("GET", "/keys", user, _PERHAPS, largest=LARGEST))
        if found.status in {401, 403}:
            return None
        return sorted(_ids(found.json())) if found.status == 200 else []

    def _get(self, name: str, what: str) -> NetHsmResponse:
        try:
            namespace, key_id = names.split(name)
        except ValueError:
            raise HsmMisconfigured("This is not the name of a key in the HSM.") from None
        user = access.administrator(self._config, namespace)
        try:
            return self._call(NetHsmRequest("GET", f"/keys/{key_id}{what}", user, _FOUND, accept=PEM if what else JSON))
        except HsmForbidden:
            if namespace not in self._namespaces():  # nobody can sign in to a namespace that is not there
                return NetHsmResponse(404, b"")
            raise

    def _call(self, wanted: NetHsmRequest) -> NetHsmResponse:
        return calls.call_blocking(self._config, self._breaker, wanted)


def _tenants() -> list[UUID]:
    # The device holds a namespace for each tenant.
    with scopes_disabled():
        rows = PersonalKey.objects.filter(hsm_provider=PROVIDER.name, key_mode=KeyMode.HSM).exclude(kms_key_name="")
        return list(rows.order_by().values_list("tenant_id", flat=True).distinct())


def _is_space(name: str) -> bool:
    return _NAMESPACE.fullmatch(name) is not None


def _ids(listed: Any) -> list[str]:
    """``[{"id": …}, …]``. Raises HsmAnswerRefused for anything else."""
    if not isinstance(listed, list):
        raise HsmAnswerRefused
    found = [item.get("id") if isinstance(item, dict) else None for item in listed]
    if not all(isinstance(name, str) and 0 < len(name) <= 200 for name in found):
        raise HsmAnswerRefused
    return [str(name) for name in found]
