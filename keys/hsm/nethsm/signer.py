"""The signer of keys in a NetHSM: the device signs; nothing secret is in this process but the operator's password."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from keycast.nostr.nip01 import UnsignedEvent
from keys.errors import KeyDamaged, NoCapability
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.nethsm import access, calls, names, signatures
from keys.hsm.nethsm.config import NetHsmConfig
from keys.refs import Capabilities, KeyRef
from keys.signing.cosigning.messages import AskedUse

CAPABILITIES: Final = Capabilities(
    name="HSM",
    sign=True,
    ecdh=False,
    imports=False,
    sentences=(
        "Signs valid Nostr events.",
        "The key is made in the HSM (a Nitrokey NetHSM), signs in it, and is never outside it.",
        "Encrypted messages (NIP-04, NIP-44) cannot be read or written with this key: the HSM cannot do that.",
        "An existing key (nsec) cannot be imported.",
        "Each signature takes a call to the HSM, usually 5 to 20 ms.",
    ),
)
_NO_ECDH: Final = "This key is in an HSM that can sign, but cannot encrypt or decrypt messages."


class NetHsmSigner:
    """A Signer (keys.signing.protocol) of mode ``hsm`` where the HSM signs. One for a process, for any event loop."""

    def __init__(self, config: NetHsmConfig | None = None, breaker: Breaker | None = None) -> None:
        self._config = config or NetHsmConfig.from_settings()
        self.breaker = breaker or Breaker("NetHSM, signing")

    def capabilities(self, key: KeyRef) -> Capabilities:
        return CAPABILITIES

    async def sign_event_id(
        self, key: KeyRef, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None = None
    ) -> bytes:
        """See keys.signing.protocol. Answers within 5 s, or raises keys.hsm_errors."""
        namespace, key_id = _place(key)
        self._config.require(self._config.signing_problem())
        user = access.operator(self._config, namespace)
        return signatures.parse(
            await calls.call(self._config, self.breaker, signatures.request(user, key_id, event_id))
        )

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        raise NoCapability(_NO_ECDH)

    def forget(self, key_id: UUID) -> None:
        """Nothing of a key is kept."""

    def forget_all(self) -> None:
        """Nothing of any key is kept."""


def _place(key: KeyRef) -> tuple[str, str]:
    """Namespace and id in the device, if the row names the key that belongs to it. Raises KeyDamaged."""
    if key.hsm is None or key.hsm.key_name != names.key_name(key.tenant_id, key.key_id):
        raise KeyDamaged
    return names.split(key.hsm.key_name)
