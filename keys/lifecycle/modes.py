"""Key modes as a person chooses them: what this deployment can serve, narrowed to what the tenant offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from django.conf import settings

from accounts.models import KeyMode, Tenant
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyModeNotOffered, KeyModeUnavailable, NoCapability
from keys.models import KeyState, PersonalKey
from keys.refs import Capabilities, SecretPurpose
from keys.signing.factory import kek_problem, key_maker
from keys.signing.local import CAPABILITIES as ENCRYPTED_CAPABILITIES
from keys.signing.sealed_halves import SealedHalves

ImportedKey = SecretBytes | SealedHalves
"""A key that was there before: whole, or in the halves that its owner's browser made of it."""


class ModeBackend(Protocol):
    """Makes keys of one mode and provider. ``fill`` completes an unsaved row and leaves it active or pending."""

    @property
    def key_mode(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    def problem(self) -> str:
        """Why no key can be made now, in plain words; empty when one can."""
        ...

    def fill(self, row: PersonalKey, secret: ImportedKey | None) -> None:
        """Give ``row`` a fresh key, or ``secret``, which stays the caller's. Raises keys.errors."""
        ...


@dataclass(frozen=True, slots=True)
class ModeOffer:
    """One choice on the page: the mode, who guards it, what it can do, and ``problem`` if it cannot be had now."""

    key_mode: str
    provider: str
    capabilities: Capabilities
    problem: str = ""

    @property
    def is_available(self) -> bool:
        return not self.problem


class EncryptedBackend:
    """Mode ``encrypted`` under the deployment's key-encryption key provider."""

    key_mode = KeyMode.ENCRYPTED.value
    capabilities = ENCRYPTED_CAPABILITIES

    @property
    def provider(self) -> str:
        return str(settings.KEK_PROVIDER)

    def problem(self) -> str:
        return kek_problem()

    def fill(self, row: PersonalKey, secret: ImportedKey | None) -> None:
        if isinstance(secret, SealedHalves):
            raise NoCapability("A key in halves cannot be kept in this mode.")
        maker, purpose = key_maker(), SecretPurpose.PERSONAL_KEY
        if secret is None:
            made = maker.generate(tenant_id=row.tenant_id, row_id=row.id, parent_id=None, purpose=purpose)
        else:
            made = maker.adopt(secret, tenant_id=row.tenant_id, row_id=row.id, purpose=purpose)
        row.public_key = made.public_key
        row.kek_provider = made.sealed.provider
        row.kek_version = made.sealed.kek_version
        row.encrypted_secret_key = made.sealed.blob
        row.state = KeyState.ACTIVE


_backends: list[ModeBackend] = [EncryptedBackend()]
_unserved: dict[str, str] = {}
_NO_HSM: Final = Capabilities(name="HSM", sign=True, ecdh=False, imports=False)


def register(backend: ModeBackend) -> None:
    """Add a backend; called once, by whoever sets up its provider."""
    _backends.append(backend)


def show_unserved(key_mode: str, provider: str) -> None:
    """Whose keys a mode is shown with, as one that cannot be had, where nothing here serves it."""
    _unserved[key_mode] = provider


def offers(tenant: Tenant) -> list[ModeOffer]:
    """What the tenant offers, its default first. A mode that nothing here serves is listed with its problem."""
    default = default_mode(tenant)
    found = [offer for mode in tenant.key_modes for offer in offers_of_mode(mode)]
    return sorted(found, key=lambda offer: offer.key_mode != default)


def default_mode(tenant: Tenant) -> str:
    """The tenant's default if it offers that, else the deployment's, else the first that it offers."""
    for mode in (tenant.default_key_mode, settings.KEY_MODE, *tenant.key_modes):
        if mode in tenant.key_modes:
            return str(mode)
    raise KeyModeNotOffered("This community offers no kind of key.")


def choose(tenant: Tenant, key_mode: str | None, provider: str | None, *, imported: bool = False) -> ModeBackend:
    """The backend for what was chosen. Raises KeyModeNotOffered, KeyModeUnavailable, NoCapability, KekUnavailable."""
    mode = key_mode or default_mode(tenant)
    if mode not in tenant.key_modes:
        raise KeyModeNotOffered(f"Keys of the mode “{_label(mode)}” are not offered here.")
    backend = next((b for b in _backends if b.key_mode == mode and provider in {None, "", b.provider}), None)
    if backend is None:
        raise KeyModeUnavailable(f"Keys of the mode “{_label(mode)}” are not set up on this server.")
    if problem := backend.problem():
        raise KekUnavailable(problem) if mode == KeyMode.ENCRYPTED else KeyModeUnavailable(problem)
    if imported and not backend.capabilities.imports:
        raise NoCapability("An existing key cannot be imported in this mode.")
    return backend


def offers_of_mode(mode: str) -> Iterator[ModeOffer]:
    """What this deployment has for a key mode, whoever offers it; what cannot be had comes with its problem."""
    backends = [backend for backend in _backends if backend.key_mode == mode]
    for backend in backends:
        yield ModeOffer(mode, backend.provider, backend.capabilities, backend.problem())
    if not backends and mode in _unserved:
        yield ModeOffer(mode, _unserved[mode], _NO_HSM, "No HSM is set up on this server.")


def _label(mode: str) -> str:
    return str(KeyMode(mode).label) if mode in KeyMode.values else "unknown"
