"""The process's own signers, made once from the settings. What moves them elsewhere is decided here alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from django.conf import settings

from keys.errors import KekUnavailable
from keys.kms import registry
from keys.signing.cache import LeasedCache
from keys.signing.local import LocalSigner
from keys.signing.maker import LocalKeyMaker
from keys.signing.opened import OpenKey
from keys.signing.protocol import DamageReport, KeyMaker, Signer
from keys.signing.service import SigningService
from keys.signing.transport import OpenTransportKey, TransportService
from keys.signing.vault import Vault

CONVERSATIONS_PER_KEY: Final = 128
CONVERSATIONS_PER_TRANSPORT: Final = 256
_signers: dict[tuple[str, str], Callable[[], Signer]] = {}


def lease() -> float:
    """Seconds for which an opened key is kept at most."""
    return float(settings.KEK_LEASE_SECONDS)


@cache
def key_maker() -> KeyMaker:
    """What makes and adopts keys."""
    return LocalKeyMaker(registry.default_provider, registry.provider)


def register_signer(mode_and_provider: tuple[str, str], make: Callable[[], Signer]) -> None:
    """Have ``make`` give the signer of a key mode and provider when a signing service is made."""
    _signers[mode_and_provider] = make


def make_signing_service(report: DamageReport) -> SigningService:
    """A service over every signer this deployment has."""
    local = LocalSigner(
        Vault(
            lambda keypair, tenant_id: OpenKey(keypair, tenant_id, CONVERSATIONS_PER_KEY),
            registry.provider,
            LeasedCache(lease, settings.OPEN_KEYS_KEPT),
        )
    )
    signers: dict[tuple[str, str], Signer] = {("encrypted", "local"): local, ("encrypted", "google"): local}
    signers.update((served, make()) for served, make in _signers.items())
    return SigningService(signers, report)


def make_transport_service(report: DamageReport) -> TransportService:
    """A service over transport keys sealed for this process."""
    return TransportService(
        Vault(
            lambda keypair, tenant_id: OpenTransportKey(keypair, tenant_id, CONVERSATIONS_PER_TRANSPORT),
            registry.provider,
            LeasedCache(lease, settings.OPEN_KEYS_KEPT),
        ),
        report,
    )


def kek_problem() -> str:
    """Why nothing can be sealed now, in plain words; empty when something can."""
    try:
        registry.default_provider()
    except KekUnavailable as error:
        return error.public_message
    return ""
