"""The key ring in Google Cloud KMS, read with the genuine client."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.conf import settings
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import kms_v1

from keycast.base import hsm_keeping
from keys.hsm.calling import run_blocking
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.google import clients, names, responses
from keys.hsm.google.calling import Code, course
from keys.hsm.google.identities import Identity
from keys.hsm.google.keeper import ALGORITHM, LEVEL, GoogleKeyManager, State
from keys.hsm.inventory.listing import HsmKey, HsmKeyPage, HsmKeyVersion, HsmKeyVersionState
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured

T = TypeVar("T")

PAGE_SIZE: Final = 1000
VERSIONS: Final = 100
"""So many versions of a key are looked at; Keycast makes one, and one more at each rotation of the authoriser."""
_OURS: Final = re.compile(r"user-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATES: Final = {
    State.ENABLED: HsmKeyVersionState.USABLE,
    State.DISABLED: HsmKeyVersionState.DISABLED,
    State.DESTROY_SCHEDULED: HsmKeyVersionState.ENDING,
    State.DESTROYED: HsmKeyVersionState.ENDED,
    State.PENDING_GENERATION: HsmKeyVersionState.MAKING,
}


class GoogleKeyReader:
    """A Stock (keys.hsm.inventory.listing): ``projects/…/locations/…/keyRings/…``."""

    def __init__(self, ring: str, breaker: Breaker | None = None) -> None:
        self._ring = ring
        self._breaker = breaker or Breaker("Cloud KMS, inventory")
        self._keeper = GoogleKeyManager(ring, self._breaker)

    @property
    def reads_a_minute(self) -> int:
        return int(settings.HSM_INVENTORY_READS)

    @property
    def can_look(self) -> bool:
        """Not where the network is served: listing is the keeper's."""
        return hsm_keeping.is_allowed()

    def page(self, cursor: str) -> HsmKeyPage:
        """A page of the ring's keys, as Cloud KMS cuts it."""
        request = kms_v1.ListCryptoKeysRequest(parent=self._ring, page_size=PAGE_SIZE, page_token=cursor)
        found = self._run("ListCryptoKeys", request, _first_page)
        held = [HsmKey(key.name, _is_ours(key, self._ring)) for key in found.crypto_keys]
        responses.must(len({key.name for key in held}) == len(held), "a key twice on one page")
        responses.must(not cursor or found.next_page_token != cursor, "the same page again")
        return HsmKeyPage(held, found.next_page_token, found.total_size)

    def look(self, name: str) -> HsmKey | None:
        """One key with up to VERSIONS versions. Raises HsmMisconfigured for a name that can be none in Cloud KMS."""
        if not names.is_key(name):
            raise HsmMisconfigured("This is not the name of a key in the HSM.")
        request = kms_v1.ListCryptoKeyVersionsRequest(parent=name, page_size=VERSIONS)
        try:
            found = self._run("ListCryptoKeyVersions", request, _first_page, Code.NOT_FOUND)
        except GoogleAPICallError:
            return None
        versions = tuple(_version(version) for version in found.crypto_key_versions)
        responses.must(all(names.key_of(version.name) == name for version in versions), "versions of another key")
        return HsmKey(name, is_ours=True, versions=versions)

    def public_key(self, version: str) -> bytes | None:
        """See keys.hsm.inventory.listing."""
        try:
            return self._keeper.public_key(version)
        except (HsmKeyUnusable, HsmMisconfigured):
            return None

    def _run(self, method: str, request: Any, check: Callable[[Any], T], *answers_too: Code) -> T:
        call = getattr(clients.blocking_client(Identity.KEEPER), _METHODS[method])
        tries = course(self._breaker, method, frozenset(answers_too))
        return run_blocking(tries, lambda seconds: check(call(request=request, retry=None, timeout=seconds)))


_METHODS: Final = {"ListCryptoKeys": "list_crypto_keys", "ListCryptoKeyVersions": "list_crypto_key_versions"}


def _first_page(pager: Any) -> Any:
    """The answer itself: what follows it is asked for when its turn comes, with tries and times of its own."""
    return next(iter(pager.pages))


def _is_ours(key: kms_v1.CryptoKey, ring: str) -> bool:
    """By its name, which no one but Keycast gives; the label could be missing on keys that others restored."""
    parent, _, key_id = key.name.partition("/cryptoKeys/")
    return parent == ring and _OURS.fullmatch(key_id) is not None


def _version(version: kms_v1.CryptoKeyVersion) -> HsmKeyVersion:
    state = _STATES.get(State(version.state), HsmKeyVersionState.BROKEN)
    return HsmKeyVersion(version.name, state, (version.algorithm, version.protection_level) == (ALGORITHM, LEVEL))
