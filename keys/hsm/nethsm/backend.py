"""Makes keys in a NetHSM."""

from __future__ import annotations

from functools import partial
from typing import Final

from django.db import transaction
from django_scopes import scope

from accounts.models import KeyMode
from keys.errors import NoCapability
from keys.hsm import provisioning
from keys.hsm.calling import TOTAL_SECONDS, within
from keys.hsm.nethsm import names
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm.nethsm.provider import PROVIDER
from keys.hsm.nethsm.signer import CAPABILITIES
from keys.lifecycle.modes import ImportedKey
from keys.models import KeyState, PersonalKey
from keys.refs import Capabilities

_NO_IMPORT: Final = "An existing key cannot be imported in this mode: the HSM makes its keys itself."


class NetHsmBackend:
    """A ModeBackend (keys.lifecycle.modes). The row is stored before the device is asked, so that no key there is lost
    track of.

    Generation is quick: the key is active when the transaction that made the row has ended. When the device is away it
    stays pending, and the job that finishes pending keys (keys.hsm.provisioning) brings it to an end.
    """

    key_mode = KeyMode.HSM.value
    provider = PROVIDER.name
    capabilities: Capabilities = CAPABILITIES

    def problem(self) -> str:
        return NetHsmConfig.from_settings().problem()

    def fill(self, row: PersonalKey, secret: ImportedKey | None) -> None:
        if secret is not None:
            raise NoCapability(_NO_IMPORT)
        row.hsm_provider = self.provider
        row.kms_key_name = names.key_name(row.tenant_id, row.id)
        row.state = KeyState.PENDING
        transaction.on_commit(partial(_finish, row), robust=True)


def _finish(row: PersonalKey) -> None:
    """Ask the device, and let whoever holds the row see what came of it."""
    with within(TOTAL_SECONDS):
        provisioning.finish(row.id)
    with scope(tenant=row.tenant_id):
        found = PersonalKey.objects.filter(pk=row.id).first()
    if found is not None:
        for field in (
            "state",
            "state_reason",
            "state_changed_at",
            "public_key",
            "kms_key_version",
            "authoriser_public_key",
        ):
            setattr(row, field, getattr(found, field))
