"""Google Cloud KMS: HSM keys that authorise what the halves of a split key sign; key-encryption keys; checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from django.conf import settings

from keys.hsm.description import CheckpointDescription, HsmDescription, KekDescription, ProviderDescription

if TYPE_CHECKING:
    from keycast.audit import signing as audit_signing
    from keys.hsm.inventory.listing import HsmKeyReader
    from keys.hsm.protocol import HsmKeyManager
    from keys.lifecycle.modes import ModeBackend
    from keys.refs import Capabilities
    from keys.signing.kms.protocol import KekProvider
    from keys.signing.kms.versions import KekVersionManager
    from keys.signing.protocol import Authoriser, Signer
    from keys.signing.reports import HsmReport

# Google's library takes long to import: only what is used is, and only then.
# ruff: noqa: PLC0415


def _capabilities() -> Capabilities:
    from keys.signing.cosigned import CAPABILITIES

    return CAPABILITIES


def _backend() -> ModeBackend:
    from keys.hsm.google.backend import GoogleBackend

    return GoogleBackend()


def _authoriser() -> Authoriser:
    from keys.hsm.google.authoriser import GoogleAuthoriser

    return GoogleAuthoriser()


def signer() -> Signer:
    from keys.signing.factory import cosigned_signer

    return cosigned_signer(_authoriser())


def _keeper() -> HsmKeyManager | None:
    from keys.hsm.google.keeper import GoogleKeyManager

    return GoogleKeyManager(settings.GCP_KEY_RING) if settings.GCP_KEY_RING else None


def _stock() -> HsmKeyReader | None:
    from keys.hsm.google.listing import GoogleKeyReader

    return GoogleKeyReader(settings.GCP_KEY_RING) if settings.GCP_KEY_RING else None


def _inspect() -> Iterator[HsmReport]:
    from keys.hsm.google.inspection import reports

    return reports()


def new_key_name(tenant_id: UUID) -> str:
    """A full resource name that no key has; Google shows the tenant nowhere."""
    return f"{settings.GCP_KEY_RING}/cryptoKeys/user-{uuid4()}"


def kek() -> KekProvider:
    from keys.hsm.google.kek import GoogleKekProvider

    return GoogleKekProvider.from_settings()


def _kek_versions() -> KekVersionManager:
    from keys.hsm.google.kek_versions import GoogleKekVersions

    return GoogleKekVersions(settings.GCP_KEK)


def checkpoints() -> audit_signing.StatementSigner:
    from keys.hsm.google.checkpoints import GoogleStatementSigner

    return GoogleStatementSigner.from_settings()


PROVIDER: Final = ProviderDescription(
    name="google",
    service="Cloud KMS",
    hsm=HsmDescription(
        whole="nowhere: two signers hold a half each",
        at_rest="two halves, each encrypted in a database of its own",
        latency="50 to 100 ms",
        ending="after Google's own waiting time",
        can_disable=lambda: True,
        is_set_up=lambda: bool(settings.GCP_KEY_RING),
        is_emulated=lambda: bool(settings.KMS_EMULATOR),
        capabilities=_capabilities,
        backend=_backend,
        signer=signer,
        keeper=_keeper,
        stock=_stock,
        inspect=_inspect,
        authoriser=_authoriser,
        new_key_name=new_key_name,
    ),
    kek=KekDescription(
        at_rest="in the database, encrypted under a key in Cloud KMS",
        is_set_up=lambda: bool(settings.GCP_KEK),
        make=kek,
        versions=_kek_versions,
        owns=lambda version: "/" in version,
    ),
    checkpoints=CheckpointDescription(
        is_set_up=lambda: bool(settings.AUDIT_CHECKPOINT_KMS_KEY),
        signer=checkpoints,
    ),
)
