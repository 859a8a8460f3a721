"""The ways of keeping a key, as choices of a form, and their honest names (docs/security-model.md)."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import Tenant
from keys.exporting.rules import in_words
from keys.lifecycle.modes import ModeOffer, offers
from keys.models import PersonalKey
from keys.selectors import is_emulated, way_of_keeping

EMULATED = "Emulated: this server only pretends to have an HSM. It protects nothing; use it to try things out."


@dataclass(frozen=True, slots=True)
class KeyModeChoice:
    """One offered mode under one form value; ``name`` says so where its HSM is an emulator.

    ``leaves`` says whether such a key can ever be exported in this tenant.
    """

    value: str
    offer: ModeOffer
    leaves: str = ""

    @property
    def name(self) -> str:
        return _marked(self.offer.capabilities.name, self.offer.key_mode, self.offer.provider)

    @property
    def warning(self) -> str:
        return EMULATED if is_emulated(self.offer.key_mode, self.offer.provider) else ""


def table_rows(choices: list[KeyModeChoice]) -> list[tuple[str, list[str]]]:
    """What each way of keeping can do and claims, in plain words: (question, an answer for each choice)."""
    ways = [way_of_keeping(choice.offer.key_mode, choice.offer.provider) for choice in choices]
    can = [choice.offer.capabilities for choice in choices]
    return [
        ("Signs valid Nostr events", [_yes(each.sign) for each in can]),
        ("Private messages (NIP-04, NIP-44)", [_yes(each.ecdh) for each in can]),
        ("Import of an existing key", [_yes(each.imports) for each in can]),
        ("Can leave again (export)", [choice.leaves for choice in choices]),
        ("Where the whole key is while it signs", [way.whole for way in ways]),
        ("How it is stored", [way.at_rest for way in ways]),
        ("Time for a signature, usually", [way.latency for way in ways]),
    ]


def _marked(name: str, key_mode: str, provider: str) -> str:
    return f"{name} (emulated)" if is_emulated(key_mode, provider) else name


def _yes(can: bool) -> str:
    return "yes" if can else "no"


def choices_for(tenant: Tenant, *, imports: bool = False) -> list[KeyModeChoice]:
    """What the tenant offers, its default first; with ``imports``, only what can take an existing key."""
    return [choice_of(tenant, offer) for offer in offers(tenant) if offer.capabilities.imports or not imports]


def choice_of(tenant: Tenant, offer: ModeOffer) -> KeyModeChoice:
    """One offer as a choice in this tenant."""
    leaves = in_words(tenant, offer.key_mode, offer.provider)
    return KeyModeChoice(f"{offer.key_mode}:{offer.provider}", offer, leaves)


def form_options(choices: list[KeyModeChoice]) -> list[tuple[str, str]]:
    """Only what can be had now can be chosen, whatever a form posts."""
    return [(choice.value, choice.name) for choice in choices if choice.offer.is_available]


def mode_name(key: PersonalKey) -> str:
    """The name of the way a key is kept, true to what it is."""
    return _marked(way_of_keeping(key.key_mode, key.provider_of_mode).name, key.key_mode, key.provider_of_mode)
