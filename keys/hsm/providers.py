"""The providers that there are: every folder in here that has a ``provider.py``. No I/O, no library of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import MappingProxyType
from uuid import UUID

from django.conf import settings

from keys import hsm
from keys.hsm.description import HsmDescription, ProviderDescription


@cache
def known() -> Mapping[str, ProviderDescription]:
    """Every provider by its name, whether it is set up or not."""
    folders = [f"{hsm.__name__}.{found.name}" for found in iter_modules(hsm.__path__) if found.ispkg]
    modules = [import_module(f"{folder}.provider") for folder in folders if find_spec(f"{folder}.provider")]
    return MappingProxyType({module.PROVIDER.name: module.PROVIDER for module in modules})


def hsm_of(provider: str) -> HsmDescription | None:
    """What the provider says of its HSM keys; None for one that has none."""
    found = known().get(provider)
    return found.hsm if found else None


def hsms() -> Iterator[tuple[str, HsmDescription]]:
    """The HSMs that this deployment is to use (``KEYCAST_HSM_PROVIDERS``), by name."""
    for name, provider in known().items():
        if provider.hsm is not None and name in settings.HSM_PROVIDERS:
            yield name, provider.hsm


def splitting() -> tuple[str, ...]:
    """Those whose HSM authorises what the halves of a split key sign, set up or not."""
    return tuple(name for name, provider in known().items() if provider.hsm and provider.hsm.authoriser)


def splits(provider: str) -> bool:
    """Whether keys of mode ``hsm`` are split keys there."""
    return provider in splitting()


def splits_here() -> bool:
    """Whether this deployment can have split keys."""
    return any(name in settings.HSM_PROVIDERS for name in splitting())


def split_provider() -> str:
    """Who authorises for a key that becomes a split one: of those that are set up, or else of all, the first."""
    return next((name for name in splitting() if name in settings.HSM_PROVIDERS), splitting()[0])


def disabling() -> tuple[str, ...]:
    """Those of ``splitting`` whose HSM can take a single key out of use."""
    return tuple(name for name in splitting() if (hsm := hsm_of(name)) and hsm.can_disable())


def new_key_name(provider: str, tenant_id: UUID) -> str:
    """A name that no key of one of ``splitting`` has."""
    hsm = hsm_of(provider)
    assert hsm is not None and hsm.new_key_name is not None  # noqa: S101, PT018 -- whoever splits draws names
    return hsm.new_key_name(tenant_id)
