"""Nitrokey NetHSM: HSM keys that sign as BIP-340 says, and are never outside the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from django.conf import settings

from keys.hsm.description import HsmDescription, ProviderDescription

if TYPE_CHECKING:
    from keys.hsm.inventory.listing import HsmKeyReader
    from keys.hsm.protocol import HsmKeyManager
    from keys.lifecycle.modes import ModeBackend
    from keys.refs import Capabilities
    from keys.signing.protocol import Signer
    from keys.signing.reports import HsmReport

# Few deployments have one: what it needs is imported where it is used.
# ruff: noqa: PLC0415


def _capabilities() -> Capabilities:
    from keys.hsm.nethsm.signer import CAPABILITIES

    return CAPABILITIES


def _backend() -> ModeBackend:
    from keys.hsm.nethsm.backend import NetHsmBackend

    return NetHsmBackend()


def signer() -> Signer:
    from keys.hsm.nethsm.signer import NetHsmSigner

    return NetHsmSigner()


def _keeper() -> HsmKeyManager:
    from keys.hsm.nethsm.keeper import NetHsmKeyManager

    return NetHsmKeyManager()


def _stock() -> HsmKeyReader:
    from keys.hsm.nethsm.listing import NetHsmKeyReader

    return NetHsmKeyReader()


def _inspect() -> Iterator[HsmReport]:
    from keys.hsm.nethsm.inspection import reports

    return reports()


PROVIDER: Final = ProviderDescription(
    name="nethsm",
    service="NetHSM",
    hsm=HsmDescription(
        whole="in the HSM alone",
        at_rest="in the HSM",
        latency="5 to 20 ms",
        ending="at once and for good",
        can_disable=lambda: False,
        is_set_up=lambda: bool(settings.NETHSM_URL),
        is_emulated=lambda: bool(settings.NETHSM_EMULATOR),
        capabilities=_capabilities,
        backend=_backend,
        signer=signer,
        keeper=_keeper,
        stock=_stock,
        inspect=_inspect,
    ),
)
