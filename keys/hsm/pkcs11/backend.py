"""Makes co-signed keys that a key in a token authorises."""

from __future__ import annotations

from accounts.models import KeyMode
from keys.hsm import provisioning, registration
from keys.hsm.pkcs11 import names
from keys.hsm.pkcs11.capabilities import CAPABILITIES
from keys.hsm.pkcs11.config import Pkcs11Config
from keys.hsm.pkcs11.provider import PROVIDER
from keys.hsm.protocol import KeySplitter
from keys.lifecycle.modes import ImportedKey
from keys.models import KeyState, PersonalKey
from keys.refs import Capabilities
from keys.signing.factory import kek_problem


class Pkcs11Backend:
    """A ModeBackend (keys.lifecycle.modes): splits the key now, names its key in the token, and leaves the rest to
    keys.hsm.provisioning."""

    key_mode = KeyMode.HSM.value
    provider = PROVIDER.name
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, halves: KeySplitter | None = None) -> None:
        self._halves = halves

    def problem(self) -> str:
        return Pkcs11Config.from_settings().problem() or kek_problem()

    def fill(self, row: PersonalKey, secret: ImportedKey | None) -> None:
        registration.fill_halves(self._halves or registration.splitter(), row, secret)
        row.hsm_provider = self.provider
        row.kms_key_name = names.new(row.tenant_id)
        row.state = KeyState.PENDING
        provisioning.enqueue(row.id)
