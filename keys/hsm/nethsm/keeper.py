"""Makes, looks at and ends keys in a NetHSM, and the namespaces that they are in. Blocks: for jobs and services."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final, NoReturn

from django.conf import settings

from keycast.crypto import ecdsa, schnorr
from keycast.crypto.errors import CryptoError
from keys.errors import NoCapability
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.nethsm import access, calls, names, signatures
from keys.hsm.nethsm.access import NetHsmUser
from keys.hsm.nethsm.calls import PEM, NetHsmRequest, NetHsmResponse
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm.protocol import HsmKeyPhase, HsmKeyStatus, PendingHsmKey
from keys.hsm_errors import HsmAnswerRefused, HsmMisconfigured
from keys.signing.cosigning.messages import NO_PROOF, HsmProof

KEY_TYPE: Final = "EC_P256K1"
MECHANISM: Final = "BIP340_Signature"
_MADE: Final = frozenset({201, 409})
_FOUND: Final = frozenset({200, 404})
_PUT: Final = frozenset({201, 204, 409})
_DELETED: Final = frozenset({204, 404})
_PROOF: Final = b"keycast/nethsm/proof-of-possession/v1"


class NetHsmKeyManager:
    """An HsmKeyManager (keys.hsm.protocol). A key's name is ``namespace~id`` (names.key_name) and its only version."""

    def __init__(self, config: NetHsmConfig | None = None, breaker: Breaker | None = None) -> None:
        self._config = config or NetHsmConfig.from_settings()
        self._breaker = breaker or Breaker("NetHSM, administration")
        self._prepared: set[str] = set()

    def create(self, name_id: str) -> PendingHsmKey:
        """Ask for the key of this name (whole, with its namespace). One that is there already is left as it is."""
        namespace, key_id = self._prepare(name_id)
        body = {"mechanisms": [MECHANISM], "type": KEY_TYPE, "id": key_id}
        self._call(NetHsmRequest("POST", "/keys/generate", access.administrator(self._config, namespace), _MADE, body))
        return PendingHsmKey(name_id)

    def check(self, name: str) -> HsmKeyStatus:
        """See keys.hsm.protocol. READY means that the key has just signed, and that the signature verifies."""
        namespace, key_id = self._prepare(name)
        user = access.operator(self._config, namespace)
        found = self._call(NetHsmRequest("GET", f"/keys/{key_id}", user, _FOUND))
        if found.status == 404:
            return HsmKeyStatus(HsmKeyPhase.MISSING)
        if not is_ours(found.json()):
            return HsmKeyStatus(HsmKeyPhase.FAILED, name, reason="The HSM has a key of another kind under this name.")
        public_key = _public_key(self._call(NetHsmRequest("GET", f"/keys/{key_id}/public.pem", user, accept=PEM)))
        self._prove(user, key_id, public_key)
        return HsmKeyStatus(HsmKeyPhase.READY, name, public_key)

    def disable(self, version: str) -> None:
        _refuse()

    def enable(self, version: str) -> None:
        _refuse()

    def destroy(self, version: str) -> None:
        """Delete the key in the device, at once and for good. Safe to repeat."""
        namespace, key_id = self._prepare(version)
        self._call(NetHsmRequest("DELETE", f"/keys/{key_id}", access.administrator(self._config, namespace), _DELETED))

    def proof(self, name: str) -> HsmProof:
        """None: it signs by itself, so no co-signer asks."""
        return NO_PROOF

    def versions(self, name: str) -> list[str]:
        """The key itself, or none when there is none."""
        namespace, key_id = self._prepare(name)
        user = access.administrator(self._config, namespace)
        return [name] if self._call(NetHsmRequest("GET", f"/keys/{key_id}", user, _FOUND)).status == 200 else []

    def state(self) -> str:
        """What the device says of itself: ``Operational``, or why it does nothing. Needs no credentials."""
        self._config.require(self._config.signing_problem())
        found = self._call(NetHsmRequest("GET", "/health/state", None)).json()
        return str(found.get("state", ""))[:32] if isinstance(found, dict) else ""

    def _prove(self, user: NetHsmUser, key_id: str, public_key: bytes) -> None:
        """Have the key sign what cannot be an event's id. Raises HsmAnswerRefused unless it verifies under BIP-340."""
        message = hashlib.sha256(_PROOF + os.urandom(32)).digest()
        signature = signatures.parse(self._call(signatures.request(user, key_id, message)))
        if not schnorr.verify(public_key[1:], message, signature):
            raise HsmAnswerRefused

    def _prepare(self, name: str) -> tuple[str, str]:
        """Namespace and id of a key's name; the namespace is there, with its two users, when this returns."""
        try:
            namespace, key_id = names.split(name)
        except ValueError:
            raise HsmMisconfigured("This is not the name of a key in the HSM.") from None
        self._config.require(self._config.problem())
        if namespace not in self._prepared:
            self._require_device()
            if self._config.admin_user:
                self._make_namespace(namespace)
            self._make_user(access.administrator(self._config, namespace), access.operator(self._config, namespace))
            self._prepared.add(namespace)
        return namespace, key_id

    def _require_device(self) -> None:
        """Raise HsmMisconfigured for an emulator in production."""
        product = self._call(NetHsmRequest("GET", "/info", None)).json()
        if settings.IS_PRODUCTION and "emulator" in str(product).lower():
            raise HsmMisconfigured("An emulator of a NetHSM is configured; production refuses it.")

    def _make_namespace(self, namespace: str) -> None:
        """Its Administrator first: once the namespace is there, the R-Administrator may not make users in it."""
        root = access.root(self._config)
        listed: Any = self._call(NetHsmRequest("GET", "/namespaces", root)).json()
        if {"id": namespace} in (listed if isinstance(listed, list) else []):
            return
        self._make_user(root, access.administrator(self._config, namespace))
        self._call(NetHsmRequest("PUT", f"/namespaces/{namespace}", root, _PUT))

    def _make_user(self, by: NetHsmUser, user: NetHsmUser) -> None:
        """Make a user unless there is one of that name; a wrong passphrase shows when it is first used."""
        body = {"realName": "Keycast", "role": user.role, "passphrase": user.passphrase}
        self._call(NetHsmRequest("PUT", f"/users/{user.name}", by, _PUT, body))

    def _call(self, wanted: NetHsmRequest) -> NetHsmResponse:
        return calls.call_blocking(self._config, self._breaker, wanted)


def is_ours(found: Any) -> bool:
    """Whether a key can do what ours do, and nothing else."""
    kind = found if isinstance(found, dict) else {}
    return (kind.get("type"), kind.get("mechanisms")) == (KEY_TYPE, [MECHANISM])


def _public_key(answer: NetHsmResponse) -> bytes:
    """The compressed point (33 bytes). Raises HsmAnswerRefused for another curve."""
    try:
        return ecdsa.public_key_from_pem(answer.body.decode())
    except (CryptoError, UnicodeDecodeError):
        raise HsmAnswerRefused from None


def _refuse() -> NoReturn:
    raise NoCapability("A NetHSM cannot disable a single key; Keycast itself refuses to use a disabled one.")
