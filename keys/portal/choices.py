"""The ways of keeping a key, as choices of a form, and their honest names (docs/security-model.md)."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import KeyMode, Tenant
from keys.models import PersonalKey, Provider
from keys.modes import ModeOffer, offers

_NAMES = {
    (KeyMode.ENCRYPTED, Provider.LOCAL): "Encrypted",
    (KeyMode.ENCRYPTED, Provider.GOOGLE): "Encrypted",
    (KeyMode.HSM, Provider.NETHSM): "HSM",
    (KeyMode.HSM, Provider.GOOGLE): "HSM-authorised, split key",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One offered mode under one form value."""

    value: str
    offer: ModeOffer


def choices_for(tenant: Tenant, *, imports: bool = False) -> list[Choice]:
    """What the tenant offers, its default first; with ``imports``, only what can take an existing key."""
    return [
        Choice(f"{offer.key_mode}:{offer.provider}", offer)
        for offer in offers(tenant)
        if offer.capabilities.imports or not imports
    ]


def form_options(choices: list[Choice]) -> list[tuple[str, str]]:
    """Only what can be had now can be chosen, whatever a form posts."""
    return [(choice.value, choice.offer.capabilities.name) for choice in choices if choice.offer.is_available]


def mode_name(key: PersonalKey) -> str:
    """The name of the way a key is kept, true to what it is."""
    return _NAMES[KeyMode(key.key_mode), Provider(key.provider)]
