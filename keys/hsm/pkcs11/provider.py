"""Tokens behind PKCS#11: HSM keys that authorise what the halves of a split key sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.conf import settings

from keys.hsm.description import HsmDescription, KekDescription, ProviderDescription

if TYPE_CHECKING:
    from keys.hsm.inventory.listing import HsmKeyReader
    from keys.hsm.protocol import HsmKeyManager
    from keys.lifecycle.modes import ModeBackend
    from keys.refs import Capabilities
    from keys.signing.kms.protocol import KekProvider
    from keys.signing.kms.versions import KekVersionManager
    from keys.signing.protocol import Authoriser, Signer
    from keys.signing.reports import HsmReport

# Few deployments have one: what it needs is imported where it is used.
# ruff: noqa: PLC0415


def _capabilities() -> Capabilities:
    from keys.hsm.pkcs11.capabilities import CAPABILITIES

    return CAPABILITIES


def _backend() -> ModeBackend:
    from keys.hsm.pkcs11.backend import Pkcs11Backend

    return Pkcs11Backend()


def _authoriser() -> Authoriser:
    from keys.hsm.pkcs11.authoriser import Pkcs11Authoriser

    return Pkcs11Authoriser()


def signer() -> Signer:
    from keys.signing.factory import cosigned_signer

    return cosigned_signer(_authoriser())


def _keeper() -> HsmKeyManager | None:
    from keys.hsm.pkcs11.keeper import Pkcs11KeyManager

    return Pkcs11KeyManager() if settings.PKCS11_MODULE else None


def _stock() -> HsmKeyReader | None:
    from keys.hsm.pkcs11.listing import Pkcs11KeyReader

    return Pkcs11KeyReader() if settings.PKCS11_MODULE else None


def _inspect() -> Iterator[HsmReport]:
    from keys.hsm.pkcs11.inspection import reports

    return reports()


def _new_key_name(tenant_id: UUID) -> str:
    from keys.hsm.pkcs11 import names

    return names.new(tenant_id)


def kek() -> KekProvider:
    from keys.hsm.pkcs11.kek import Pkcs11KekProvider

    return Pkcs11KekProvider.from_settings()


def _kek_versions() -> KekVersionManager:
    from keys.hsm.pkcs11.kek_versions import Pkcs11KekVersions

    return Pkcs11KekVersions(settings.PKCS11_KEK)


PROVIDER: Final = ProviderDescription(
    name="pkcs11",
    service="PKCS#11",
    hsm=HsmDescription(
        whole="nowhere: two signers hold a half each",
        at_rest="two halves, each encrypted in a database of its own",
        latency="1 to 20 ms",
        ending="at once and for good",
        can_disable=lambda: bool(settings.PKCS11_CAN_DISABLE),
        is_set_up=lambda: bool(settings.PKCS11_MODULE),
        is_emulated=lambda: "softhsm" in settings.PKCS11_MODULE.lower(),
        capabilities=_capabilities,
        backend=_backend,
        signer=signer,
        keeper=_keeper,
        stock=_stock,
        inspect=_inspect,
        authoriser=_authoriser,
        new_key_name=_new_key_name,
    ),
    kek=KekDescription(
        at_rest="in the database, encrypted under a key in a token (PKCS#11)",
        is_set_up=lambda: bool(settings.PKCS11_KEK),
        make=kek,
        versions=_kek_versions,
        owns=lambda version: version.startswith("pkcs11:"),
    ),
)
