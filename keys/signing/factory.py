"""The process's own signers, made once from the settings. What moves them elsewhere is decided here alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from django.conf import settings

from keys.errors import KekUnavailable, KeyModeUnavailable
from keys.refs import Capabilities
from keys.signing.cache import LeasedCache
from keys.signing.cosigned import CosignedSigner
from keys.signing.cosigning.client import CosignerClient
from keys.signing.cosigning.reading import ReadingTerms
from keys.signing.half import OpenHalf
from keys.signing.key_maker import LocalKeyMaker
from keys.signing.kms import registry
from keys.signing.local import CAPABILITIES as ENCRYPTED_CAPABILITIES
from keys.signing.local import LocalSigner
from keys.signing.opened_key import OpenKey
from keys.signing.protocol import Authoriser, DamageReport, KeyMaker, Signer
from keys.signing.service import SigningService
from keys.signing.transport import OpenTransportKey, TransportService
from keys.signing.vault import OpenKeyVault

ENCRYPTED: Final = ("encrypted", "")
"""The mode that no HSM takes part in, whoever keeps its key-encryption key."""
CONVERSATIONS_PER_KEY: Final = 128
CONVERSATIONS_PER_TRANSPORT: Final = 256
_signers: dict[tuple[str, str], Callable[[], Signer]] = {}
_capabilities: dict[tuple[str, str], Callable[[], Capabilities]] = {}


def lease() -> float:
    """Seconds for which an opened key is kept at most."""
    return float(settings.KEK_LEASE_SECONDS)


@cache
def key_maker() -> KeyMaker:
    """What makes and adopts keys."""
    return _remote().key_maker() if registry.is_elsewhere() else own_key_maker()


def own_key_maker(cosigner: CosignerClient | None = None) -> KeyMaker:
    """One that works in this process, and talks to this co-signer if it is given one."""
    return LocalKeyMaker(registry.default_provider, registry.provider, cosigner)


def register_signer(mode_and_hsm: tuple[str, str], make: Callable[[], Signer]) -> None:
    """Have ``make`` give the signer of a key mode and HSM provider when a signing service is made."""
    _signers[mode_and_hsm] = make


def register_capabilities(mode_and_hsm: tuple[str, str], tell: Callable[[], Capabilities]) -> None:
    """Have ``tell`` say what keys of a key mode and HSM provider can do, whether they are served here or not."""
    _capabilities[mode_and_hsm] = tell


def capabilities_of(key_mode: str, hsm_provider: str) -> Capabilities:
    """What keys of this mode and HSM can do; the same table in every process. Raises KeyModeUnavailable."""
    if (key_mode, hsm_provider) == ENCRYPTED:
        return ENCRYPTED_CAPABILITIES
    try:
        return _capabilities[key_mode, hsm_provider]()
    except KeyError:
        raise KeyModeUnavailable from None


def served() -> tuple[tuple[str, str], ...]:
    """The key modes and HSM providers of this deployment, as its settings have them."""
    return (ENCRYPTED, *_signers)


def name_of(served: tuple[str, str]) -> str:
    """One of ``served`` in a word: ``encrypted``, or ``hsm/`` and the HSM."""
    return "/".join(filter(None, served))


def own_signers() -> dict[tuple[str, str], Signer]:
    """Every signer of this deployment, working in this process, by key mode and HSM provider."""
    local = LocalSigner(
        OpenKeyVault(
            lambda keypair, tenant_id: OpenKey(keypair, tenant_id, CONVERSATIONS_PER_KEY),
            registry.provider,
            LeasedCache(lease, settings.OPEN_KEYS_KEPT),
        )
    )
    signers: dict[tuple[str, str], Signer] = {ENCRYPTED: local}
    return signers | {served: make() for served, make in _signers.items()}


def cosigned_signer(authoriser: Authoriser) -> Signer:
    """The signer of keys that two processes hold a half each of, and that this one authorises."""
    vault = OpenKeyVault(
        lambda keypair, tenant_id: OpenHalf(keypair, tenant_id, CONVERSATIONS_PER_KEY),
        registry.provider,
        LeasedCache(lease, settings.OPEN_KEYS_KEPT),
    )
    collect = settings.AUTHORISATION_COLLECT_MS / 1000
    reading = ReadingTerms(round(60 * settings.READING_MINUTES), settings.READING_USES)
    return CosignedSigner(vault, {authoriser.provider: authoriser}, CosignerClient(), collect, reading)


def make_signing_service(report: DamageReport) -> SigningService:
    """A service over every signer this deployment has."""
    if registry.is_elsewhere():
        return SigningService(_remote().signers(served()), report)
    return SigningService(own_signers(), report)


def make_transport_service(report: DamageReport) -> TransportService:
    """A service over transport keys, which are open in this process wherever the signer is."""
    kind = _remote().TransportVault if registry.is_elsewhere() else OpenKeyVault[OpenTransportKey]
    vault = kind(
        lambda keypair, tenant_id: OpenTransportKey(keypair, tenant_id, CONVERSATIONS_PER_TRANSPORT),
        registry.provider,
        LeasedCache(lease, settings.OPEN_KEYS_KEPT),
    )
    return TransportService(vault, report)


def kek_problem() -> str:
    """Why nothing can be sealed now, in plain words; empty when something can."""
    if registry.is_elsewhere():
        return str(_remote().kek_problem())
    try:
        registry.default_provider()
    except KekUnavailable as error:
        return error.public_message
    return ""


def _remote() -> Any:
    from keys.signing.isolated import access  # noqa: PLC0415 -- only where the signer is a process of its own

    return access
