"""How the HSMs and the co-signer that the settings name look from here, for operators. Changes nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.base.errors import KeycastError
from keys.hsm import providers, registration
from keys.hsm.protocol import HsmKeyPhase
from keys.models import KeyState, PersonalKey
from keys.signing.cosigning.client import blocking
from keys.signing.reports import HsmReport


def reports() -> Iterator[HsmReport]:
    """One for each thing that HSM keys of this deployment need; none where no HSM is set up."""
    for _, hsm in providers.hsms():
        yield from hsm.inspect()


def newest(provider: str, name: str, kind: str) -> HsmReport:
    """The newest active key of a provider is in the HSM as it should be."""
    # Any tenant's key shows whether the HSM answers.
    with scopes_disabled():
        keys = PersonalKey.objects.filter(key_mode=KeyMode.HSM, hsm_provider=provider, state=KeyState.ACTIVE)
        key: PersonalKey | None = keys.order_by("-created_at").first()
    keeper = registration.hsm_key_managers().get(provider)
    if key is None or keeper is None:
        return HsmReport(name, True, "There is none yet to look at.")
    try:
        status = keeper.check(key.kms_key_name)
    except KeycastError as error:
        return HsmReport(name, False, error.public_message, "See the line above; then look at the HSM's own log.")
    if status.phase is not HsmKeyPhase.READY:
        fix = "If nobody disabled it on purpose, enable it in the HSM again."
        return HsmReport(name, False, f"The newest one is {status.phase.value}. {status.reason}".strip(), fix)
    return HsmReport(name, True, f"The newest one is enabled ({kind}).")


def cosigner() -> HsmReport:
    """The co-signer answers."""
    began = time.perf_counter()
    try:
        blocking(lambda client: client.ping())
    except KeycastError as error:
        fix = "Run manage.py cosigner (embedded: the server runs it), and check KEYCAST_COSIGNER_SOCKET or _ADDRESS."
        return HsmReport("co-signer", False, error.public_message, fix)
    return HsmReport("co-signer", True, f"Answers in {(time.perf_counter() - began) * 1000:.0f} ms.")
