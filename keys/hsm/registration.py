"""Wires the HSMs that the settings name: ways to make keys, signers, keepers, key-encryption keys. No I/O here.

``register`` runs once, when the app registry is ready; everything it names is made on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings

from keycast.audit import signing
from keys.hsm.protocol import HsmKeyKeeper
from keys.models import PersonalKey, Provider

if TYPE_CHECKING:
    from keys.hsm.provisioning import Others
    from keys.signing.kms.protocol import KekProvider
    from keys.signing.protocol import Signer


def register() -> None:
    """Make every configured provider known."""
    from keys.lifecycle import modes  # noqa: PLC0415 -- needs the app registry
    from keys.signing import factory  # noqa: PLC0415
    from keys.signing.kms import registry  # noqa: PLC0415

    if "google" in settings.HSM_PROVIDERS:
        from keys.hsm.google.backend import GoogleBackend  # noqa: PLC0415

        modes.register(GoogleBackend())
        factory.register_signer(("hsm", "google"), _google_signer)
    if "nethsm" in settings.HSM_PROVIDERS:
        from keys.hsm.nethsm.backend import NetHsmBackend  # noqa: PLC0415

        modes.register(NetHsmBackend())
        factory.register_signer(("hsm", "nethsm"), _nethsm_signer)
    if settings.GCP_KEK:
        registry.register("google", _google_kek)
    if settings.AUDIT_CHECKPOINT_KMS_KEY:
        signing.register("google", _google_checkpoints)


@cache
def keepers() -> Mapping[str, HsmKeyKeeper]:
    """Who makes and ends HSM keys, by provider."""
    found: dict[str, HsmKeyKeeper] = {}
    if "google" in settings.HSM_PROVIDERS and settings.GCP_KEY_RING:
        from keys.hsm.google.keeper import GoogleKeyKeeper  # noqa: PLC0415 -- Google's library takes long to import

        found["google"] = GoogleKeyKeeper(settings.GCP_KEY_RING)
    if "nethsm" in settings.HSM_PROVIDERS:
        from keys.hsm.nethsm.keeper import NetHsmKeeper  # noqa: PLC0415

        found["nethsm"] = NetHsmKeeper()
    return found


def others() -> Others:
    """The co-signer, as jobs ask it; a key that the HSM signs with itself has none."""
    from keys.hsm.provisioning import Others  # noqa: PLC0415
    from keys.signing.cosigning.client import blocking  # noqa: PLC0415

    def register_authoriser(row: PersonalKey, public_key: bytes) -> None:
        if row.provider == Provider.GOOGLE:
            blocking(lambda client: client.register_authoriser(row.tenant_id, row.id, public_key))

    def forget(row: PersonalKey) -> None:
        if row.provider == Provider.GOOGLE:
            blocking(lambda client: client.forget(row.tenant_id, row.id))

    return Others(register_authoriser, forget)


def _google_checkpoints() -> signing.Signer:
    from keys.hsm.google.checkpoints import GoogleCheckpointSigner  # noqa: PLC0415

    return GoogleCheckpointSigner.from_settings()


def _google_kek() -> KekProvider:
    from keys.hsm.google.kek import GoogleKekProvider  # noqa: PLC0415

    return GoogleKekProvider.from_settings()


def _nethsm_signer() -> Signer:
    from keys.hsm.nethsm.signer import NetHsmSigner  # noqa: PLC0415

    return NetHsmSigner()


def _google_signer() -> Signer:
    from keys.hsm.google.authoriser import GoogleAuthoriser  # noqa: PLC0415
    from keys.signing import factory  # noqa: PLC0415
    from keys.signing.cache import LeasedCache  # noqa: PLC0415
    from keys.signing.cosigned import CosignedSigner  # noqa: PLC0415
    from keys.signing.cosigning.client import CosignerClient  # noqa: PLC0415
    from keys.signing.half import OpenHalf  # noqa: PLC0415
    from keys.signing.kms import registry  # noqa: PLC0415
    from keys.signing.vault import Vault  # noqa: PLC0415

    vault = Vault(
        lambda keypair, tenant_id: OpenHalf(keypair, tenant_id, factory.CONVERSATIONS_PER_KEY),
        registry.provider,
        LeasedCache(factory.lease, settings.OPEN_KEYS_KEPT),
    )
    return CosignedSigner(vault, {"google": GoogleAuthoriser()}, CosignerClient())
