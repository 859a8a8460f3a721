"""What staff ask of the log, read from the address: tenant, what, how it ended, by whom, about what, and when."""

from __future__ import annotations

import datetime
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django import forms

from accounts.models import Tenant, User
from bunker.models import Connection
from keycast.audit.descriptions import outcome_word, sentence
from keycast.audit.models import AuditChain
from keycast.audit.selectors import AuditFilters
from keycast.audit.services import PLATFORM, chain_of
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keys.models import PersonalKey

Choices = list[tuple[str, str]]
CHAINS_OFFERED = 500
ACTOR_TYPES: Choices = [
    ("user", "People"),
    ("staff", "Platform staff"),
    ("client", "Apps"),
    ("system", "Keycast itself"),
    ("command", "Commands on the server"),
]


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What to show. ``problem``: why nothing can be shown, in a sentence for the person who asked."""

    chain: str
    filters: AuditFilters
    problem: str = ""


class UtcDateTimeField(forms.DateTimeField):
    """A time in UTC, as a browser's own control gives it."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def to_python(self, value: Any) -> datetime.datetime | None:
        moment = super().to_python(value)
        return None if moment is None else moment.replace(tzinfo=datetime.UTC)


class AuditFilterForm(forms.Form):
    """The filters. Every field may be left empty."""

    q = forms.CharField(
        label="About",
        max_length=254,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Event id, npub or public key of a key or an app, e-mail address, or the id of a key, app or person.",
    )
    chain = forms.ChoiceField(label="Tenant", required=False)
    tag = forms.ChoiceField(label="What happened", required=False)
    outcome = forms.ChoiceField(label="How it ended", required=False)
    actor = forms.ChoiceField(label="By", required=False, choices=[("", "Anybody"), *ACTOR_TYPES])
    since = UtcDateTimeField(label="From (UTC)", required=False)
    until = UtcDateTimeField(label="Until (UTC)", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (("chain", chains()), ("tag", tags()), ("outcome", outcomes())):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 -- as declared above
            field.choices = choices

    def question(self) -> AuditQuery:
        """What was asked, once the form is valid."""
        asked = self.cleaned_data
        filters = AuditFilters(
            tags=[asked["tag"]] if asked["tag"] else [],
            outcomes=[asked["outcome"]] if asked["outcome"] else [],
            actor_type=asked["actor"],
            since=asked["since"],
            until=asked["until"],
        )
        term = asked["q"].strip()
        found = look_up(term) if term else {}
        if found is None:
            return AuditQuery(asked["chain"], filters, f"There is no person, key or app “{term}”.")
        names = ("actor_id", "key_id", "connection_id", "request_id")
        actor, key, app, request = (found.get(name, "") for name in names)
        about = replace(filters, actor_id=actor, key_id=key, connection_id=app, request_id=request)
        return AuditQuery(asked["chain"], about)


def chains() -> Choices:
    """By the names of their tenants; from the heads, not from a scan of the rows."""
    names = AuditChain.objects.values_list("name", flat=True)[:CHAINS_OFFERED]
    titles = {chain_of(tenant.id): tenant.name for tenant in Tenant.objects.only("id", "name")[:CHAINS_OFFERED]}
    titles[PLATFORM] = "The platform itself"
    offered = sorted(((name, titles.get(name, name)) for name in names), key=lambda choice: choice[1].lower())
    return [("", "All"), *offered]


def tags() -> Choices:
    return [
        ("", "Anything"),
        *sorted(((tag.value, sentence(tag.value)) for tag in AuditTag), key=lambda choice: choice[1]),
    ]


def outcomes() -> Choices:
    return [("", "However"), *((outcome.value, outcome_word(outcome.value).capitalize()) for outcome in AuditOutcome)]


def look_up(term: str) -> dict[str, str] | None:
    """What a term stands for, as filters; None when it can stand for nothing."""
    if "@" in term:
        person = User.objects.filter(email__iexact=term).only("id").first()
        return None if person is None else {"actor_id": person.id.hex}
    digits = term.replace("-", "").lower()
    with suppress(Nip19Error):
        digits = public_key_of(term)
    if not digits.isascii() or not all(digit in "0123456789abcdef" for digit in digits):
        return None
    return {32: _by_id, 64: _by_public_key}.get(len(digits), lambda _: None)(digits)


def _by_id(digits: str) -> dict[str, str] | None:
    app = Connection.objects.filter(id=UUID(digits)).only("id", "key_id").first()
    if app is not None:
        return {"key_id": app.key_id.hex, "connection_id": digits}
    if PersonalKey.objects.filter(id=UUID(digits)).exists():
        return {"key_id": digits}
    return {"actor_id": digits}


def _by_public_key(digits: str) -> dict[str, str]:
    """A key's; an app's, by way of its key if it has only one; else it is the id of an event."""
    key = PersonalKey.objects.filter(public_key=digits).only("id").first()
    if key is not None:
        return {"key_id": key.id.hex}
    apps = list(Connection.objects.filter(client_public_key=digits).only("id", "key_id")[:2])
    if len(apps) == 1:
        return {"key_id": apps[0].key_id.hex, "connection_id": apps[0].id.hex}
    return {"actor_id": digits} if apps else {"request_id": digits}
