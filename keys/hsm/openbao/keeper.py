"""Makes, looks at and ends keys in OpenBao. Blocks: for jobs and commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from keys.errors import NoCapability
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.openbao import calls, transit
from keys.hsm.openbao.calls import BaoAnswer, BaoRequest
from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm.openbao.names import ours
from keys.hsm.protocol import HsmKeyPhase, HsmKeyStatus, PendingHsmKey
from keys.hsm_errors import HsmKeyUnusable, HsmMisconfigured
from keys.signing.cosigning.messages import NO_PROOF, HsmProof

_PROOF: Final = b"keycast/openbao/proof-of-possession/v1"
_NOT_FOUND: Final = frozenset({404})
_NO_SUCH_CALL: Final = frozenset({404, 405})


class OpenBaoKeyManager:
    """An HsmKeyManager (keys.hsm.protocol) for one transit engine. A key's name is also its only version's."""

    def __init__(self, breaker: Breaker | None = None) -> None:
        self._breaker = breaker or Breaker("OpenBao, administration")
        self._is_known_server = False

    def create(self, name_id: str) -> PendingHsmKey:
        """Ask for the key of this name. One that is there already is left as it is by OpenBao."""
        self._require_server()
        body = {"type": transit.KEY_TYPE, "exportable": False, "allow_plaintext_backup": False}
        self._call("POST", f"keys/{ours(name_id)}", body)
        return PendingHsmKey(name_id)

    def check(self, name: str) -> HsmKeyStatus:
        """See keys.hsm.protocol. READY means that the key has just signed, and that the signature verifies."""
        found = self._look(name)
        if found is None:
            return HsmKeyStatus(HsmKeyPhase.MISSING)
        if not transit.is_right_kind(found):
            return HsmKeyStatus(HsmKeyPhase.FAILED, name, reason="The HSM has a key of another kind under this name.")
        if transit.is_disabled(found):
            return HsmKeyStatus(HsmKeyPhase.FAILED, name, reason="The key in the HSM is disabled.")
        public_key = transit.public_key(found)
        self._prove(name, public_key)
        return HsmKeyStatus(HsmKeyPhase.READY, name, public_key)

    def disable(self, version: str) -> None:
        """Take the key out of use (soft-delete); can be undone. Raises NoCapability where the server cannot (Vault)."""
        self._require_found(version)
        self._only_where_possible(self._call("DELETE", f"keys/{ours(version)}/soft-delete", None, _NO_SUCH_CALL))

    def enable(self, version: str) -> None:
        """Bring it back. Raises NoCapability where the server cannot."""
        self._require_found(version)
        path = f"keys/{ours(version)}/soft-delete-restore"
        self._only_where_possible(self._call("POST", path, {}, _NO_SUCH_CALL))

    def destroy(self, version: str) -> None:
        """Delete the key, at once and for good. Safe to repeat."""
        if self._look(version) is None:
            return
        self._call("POST", f"keys/{ours(version)}/config", {"deletion_allowed": True})
        self._call("DELETE", f"keys/{ours(version)}")

    def proof(self, name: str) -> HsmProof:
        """None: OpenBao attests nothing, so the co-signer's operator says yes, or lets it trust the first."""
        return NO_PROOF

    def versions(self, name: str) -> list[str]:
        """The key itself, or none when there is none."""
        return [] if self._look(name) is None else [name]

    def _look(self, name: str) -> Mapping[str, Any] | None:
        found = self._call("GET", f"keys/{ours(name)}", None, _NOT_FOUND)
        return None if found.status == 404 else found.data

    def _require_found(self, version: str) -> None:
        if self._look(version) is None:
            raise HsmKeyUnusable
        if not settings.OPENBAO_CAN_DISABLE:
            _refuse()

    def _only_where_possible(self, answer: BaoAnswer) -> None:
        if answer.status in _NO_SUCH_CALL:
            _refuse()

    def _prove(self, name: str, public_key: bytes) -> None:
        """Have the key sign what can be no authorisation. Raises HsmAnswerRefused unless it verifies."""
        digest = hashlib.sha256(_PROOF + os.urandom(32)).digest()
        config = OpenBaoConfig.from_settings()
        answer = calls.call_blocking(config, self._breaker, transit.sign(config.mount, name, digest))
        if answer.status == 400:
            raise HsmKeyUnusable
        transit.verified(answer, digest, public_key)

    def _require_server(self) -> None:
        """Raise HsmMisconfigured for an emulator in production; asked once."""
        if settings.IS_PRODUCTION and not self._is_known_server:
            if is_emulator(OpenBaoConfig.from_settings(), self._breaker):
                raise HsmMisconfigured("An emulator of OpenBao is configured; production refuses it.")
            self._is_known_server = True

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, answers: frozenset[int] = frozenset()
    ) -> BaoAnswer:
        config = OpenBaoConfig.from_settings()
        request = BaoRequest(method, f"{config.mount}/{path}", body, answers, manages=True)
        return calls.call_blocking(config, self._breaker, request)


def is_emulator(config: OpenBaoConfig, breaker: Breaker) -> bool:
    """Whether what answers is Keycast's own stand-in, which says so as its type of seal."""
    found = calls.call_blocking(config, breaker, BaoRequest("GET", "sys/seal-status", None, _NOT_FOUND))
    return found.data.get("type") == "emulator"


def _refuse() -> None:
    raise NoCapability("This HSM cannot disable a single key; Keycast itself refuses to use a disabled one.")
