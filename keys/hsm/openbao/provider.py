"""OpenBao (and HashiCorp Vault): keys of its transit engine that authorise what the halves of a split key sign."""

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
    from keys.hsm.openbao.capabilities import CAPABILITIES

    return CAPABILITIES


def _backend() -> ModeBackend:
    from keys.hsm.openbao.backend import OpenBaoBackend

    return OpenBaoBackend()


def _authoriser() -> Authoriser:
    from keys.hsm.openbao.authoriser import OpenBaoAuthoriser

    return OpenBaoAuthoriser()


def signer() -> Signer:
    from keys.signing.factory import cosigned_signer

    return cosigned_signer(_authoriser())


def _keeper() -> HsmKeyManager | None:
    from keys.hsm.openbao.keeper import OpenBaoKeyManager

    return OpenBaoKeyManager() if settings.OPENBAO_URL else None


def _stock() -> HsmKeyReader | None:
    from keys.hsm.openbao.listing import OpenBaoKeyReader

    return OpenBaoKeyReader() if settings.OPENBAO_URL else None


def _inspect() -> Iterator[HsmReport]:
    from keys.hsm.openbao.inspection import reports

    return reports()


def _new_key_name(tenant_id: UUID) -> str:
    from keys.hsm.openbao import names

    return names.new(tenant_id)


def kek() -> KekProvider:
    from keys.hsm.openbao.kek import OpenBaoKekProvider

    return OpenBaoKekProvider.from_settings()


def _kek_versions() -> KekVersionManager:
    from keys.hsm.openbao.kek_versions import OpenBaoKekVersions

    return OpenBaoKekVersions(settings.OPENBAO_KEK)


PROVIDER: Final = ProviderDescription(
    name="openbao",
    service="OpenBao",
    hsm=HsmDescription(
        whole="nowhere: two signers hold a half each",
        at_rest="two halves, each encrypted in a database of its own",
        latency="2 to 10 ms",
        ending="at once and for good",
        can_disable=lambda: bool(settings.OPENBAO_CAN_DISABLE),
        is_set_up=lambda: bool(settings.OPENBAO_URL),
        is_emulated=lambda: False,
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
        at_rest="in the database, encrypted under a key in OpenBao",
        is_set_up=lambda: bool(settings.OPENBAO_KEK),
        make=kek,
        versions=_kek_versions,
        owns=lambda version: version.startswith("openbao:"),
    ),
)
