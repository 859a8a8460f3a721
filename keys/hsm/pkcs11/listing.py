"""The keys in a token. Makes and changes nothing, and signs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from keys.hsm.circuit_breaker import Breaker
from keys.hsm.inventory.listing import HsmKey, HsmKeyPage, HsmKeyVersion, HsmKeyVersionState
from keys.hsm.pkcs11 import keypairs, names
from keys.hsm.pkcs11.client import client
from keys.hsm.pkcs11.library import p11
from keys.hsm.pkcs11.token import Token
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured

T = TypeVar("T")

AT_ONCE: Final = 50
"""Labels read in one go: signatures wait for so long."""


class Pkcs11KeyReader:
    """An HsmKeyReader (keys.hsm.inventory.listing). All keys are one page."""

    reads_a_minute = 0
    can_look = True

    def __init__(self, breaker: Breaker | None = None) -> None:
        self._breaker = breaker or Breaker("PKCS#11, inventory")

    def page(self, cursor: str) -> HsmKeyPage:
        """Every private key, by its label; a label that several have is told once, and said."""
        found = self._run("C_FindObjects", _all)
        labels = [
            label
            for start in range(0, len(found), AT_ONCE)
            for label in self._run("C_GetAttributeValue", partial(_labels, found[start : start + AT_ONCE]))
        ]
        times = Counter(labels)
        unseen = [f"{label}: {count} keys of this label" for label, count in sorted(times.items()) if count > 1]
        return HsmKeyPage([HsmKey(label, names.is_ours(label)) for label in sorted(times)], "", len(times), unseen)

    def look(self, name: str) -> HsmKey | None:
        """The key, which is its own only version. Raises HsmMisconfigured for a name that Keycast gives to none."""
        if not names.is_ours(name):
            raise HsmMisconfigured("This is not the name of a key in the HSM.")
        return self._run("C_GetAttributeValue", partial(_look, name))

    def public_key(self, version: str) -> bytes | None:
        """See keys.hsm.inventory.listing."""
        try:
            return self._run("C_GetAttributeValue", partial(_public_key, version))
        except (HsmKeyUnusable, HsmMisconfigured):
            return None

    def _run(self, what: str, work: Callable[[Token, Any], T]) -> T:
        return client().call_blocking(self._breaker, what, work)


def _all(token: Token, session: Any) -> list[Any]:
    return list(session.get_objects({p11.Attribute.CLASS: p11.ObjectClass.PRIVATE_KEY}))


def _labels(keys: list[Any], token: Token, session: Any) -> list[str]:
    """Keys that were destroyed meanwhile are left out."""
    found = []
    for key in keys:
        try:
            found.append(str(key[p11.Attribute.LABEL]))
        except (p11.exceptions.ObjectHandleInvalid, p11.exceptions.AttributeTypeInvalid, UnicodeDecodeError):
            continue
    return found


def _look(name: str, token: Token, session: Any) -> HsmKey | None:
    found = keypairs.private_keys(session, name)
    if not found:
        return None
    is_right = len(found) == 1 and keypairs.is_right_kind(found[0])
    state = HsmKeyVersionState.USABLE if keypairs.may_sign(found[0]) else HsmKeyVersionState.DISABLED
    return HsmKey(name, is_ours=True, versions=(HsmKeyVersion(name, state, is_right),))


def _public_key(name: str, token: Token, session: Any) -> bytes:
    return keypairs.public_key(session, name)
