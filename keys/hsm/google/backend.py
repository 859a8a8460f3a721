"""Makes co-signed keys that a Cloud KMS key authorises."""

from __future__ import annotations

from typing import Final

from django.conf import settings

from accounts.models import KeyMode
from keys.hsm import provisioning, registration
from keys.hsm.google import names
from keys.hsm.google.provider import PROVIDER, new_key_name
from keys.hsm.protocol import KeySplitter
from keys.lifecycle.modes import ImportedKey
from keys.models import KeyState, PersonalKey
from keys.refs import Capabilities
from keys.signing.cosigned import CAPABILITIES
from keys.signing.factory import kek_problem

_NO_RING: Final = "The key ring in Google Cloud KMS is not set up on this server."


class GoogleBackend:
    """A ModeBackend (keys.lifecycle.modes): splits the key now, names its HSM key, and leaves the rest to
    keys.hsm.provisioning."""

    key_mode = KeyMode.HSM.value
    provider = PROVIDER.name
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, halves: KeySplitter | None = None) -> None:
        self._halves = halves

    def problem(self) -> str:
        return kek_problem() if names.is_ring(settings.GCP_KEY_RING) else _NO_RING

    def fill(self, row: PersonalKey, secret: ImportedKey | None) -> None:
        registration.fill_halves(self._halves or registration.splitter(), row, secret)
        row.hsm_provider = self.provider
        row.kms_key_name = new_key_name(row.tenant_id)
        row.state = KeyState.PENDING
        provisioning.enqueue(row.id)
