"""Forms about apps. Each names exactly the fields it takes; whatever else is posted goes nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from bunker.policy import TEMPLATES, PolicyTemplate
from bunker.services import checked_relays
from keycast.base.errors import KeycastError
from keycast.nostr.uris import MAX_CLIENT_URI, NostrConnectUri, UriError
from keys.models import PersonalKey

LIFETIMES = {"": "No end, until I revoke it", "1": "One day", "7": "One week", "30": "30 days", "365": "One year"}
_URI_REFUSALS = {
    "secret-missing": "This address carries no secret. Ask the app for a new one.",
    "relay-missing": "This address names no relay, so the app could not be answered.",
    "relay-url": "This address names a relay that Keycast cannot use.",
    "too-many-relays": "This address names too many relays.",
}
_NOT_AN_ADDRESS = "This is not a nostrconnect:// address. Copy it whole from the app: it starts with nostrconnect://"


class AppNameForm(forms.Form):
    """An app's name, for its owner's eyes only."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="For you, to recognise it in the list: the app and the device, for instance.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class GrantForm(AppNameForm):
    """What an app gets: a key, a policy, and until when."""

    key = forms.ChoiceField(label="Key")
    policy = forms.ChoiceField(label="What it may do")
    lifetime = forms.ChoiceField(label="For how long", choices=list(LIFETIMES.items()), required=False)
    field_order = ("key", "name", "policy", "lifetime")

    def __init__(
        self,
        *args: Any,
        keys: Sequence[PersonalKey],
        policies: Iterable[PolicyTemplate] = TEMPLATES.values(),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["policy"] = forms.ChoiceField(
            label="What it may do", choices=[(template.slug, template.title) for template in policies]
        )
        self._keys = {str(key.id): key for key in keys}
        self.fields["key"] = forms.ChoiceField(
            label="Key",
            choices=[(value, key.name) for value, key in self._keys.items()],
            error_messages={"invalid_choice": "Choose one of your active keys."},
        )

    @property
    def chosen_key(self) -> PersonalKey:
        return self._keys[self.cleaned_data["key"]]

    @property
    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class ConnectForm(GrantForm):
    """``once`` makes a form that is sent again (a reload) recognisable, so that it makes no second address."""

    once = forms.RegexField(r"\A[A-Za-z0-9]{32}\Z", widget=forms.HiddenInput)


class UriForm(forms.Form):
    """A pasted nostrconnect:// address. It holds the app's secret, so it travels in POST bodies only."""

    uri = forms.CharField(
        label="Address from the app",
        max_length=MAX_CLIENT_URI,
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "placeholder": "nostrconnect://…",
            }
        ),
        help_text="The app shows it as text or a QR code, often under “Connect with a remote signer”.",
    )

    parsed: NostrConnectUri

    def clean_uri(self) -> str:
        text: str = self.cleaned_data["uri"]
        try:
            self.parsed = NostrConnectUri.parse(text)
        except UriError as refused:
            raise forms.ValidationError(_URI_REFUSALS.get(refused.code, _NOT_AN_ADDRESS)) from None
        return text


class ApproveForm(GrantForm, UriForm):
    """The second step: the address again, hidden, and what the owner grants."""

    uri = forms.CharField(max_length=MAX_CLIENT_URI, widget=forms.HiddenInput)


class PoliciesForm(forms.Form):
    """Which ready-made policies a tenant's people may grant, and which is offered first."""

    policies = forms.MultipleChoiceField(
        label="Policies that are offered",
        choices=[(slug, template.title) for slug, template in TEMPLATES.items()],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Offer at least one policy, or nobody could connect an app."},
    )
    default_policy = forms.ChoiceField(
        label="Offered first",
        choices=[(slug, template.title) for slug, template in TEMPLATES.items()],
        widget=forms.RadioSelect,
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first = cleaned.get("default_policy")
        if first and cleaned.get("policies") and first not in cleaned["policies"]:
            self.add_error("default_policy", "What is offered first has to be among what is offered.")
        return cleaned


class RelaysForm(forms.Form):
    """Relay URLs, one a line."""

    relays = forms.CharField(
        label="Relays of our own",
        required=False,
        max_length=5000,
        widget=forms.Textarea(
            attrs={
                "rows": 5,
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "placeholder": "wss://relay.example.org",
            }
        ),
        help_text="One address a line. New bunker URLs name them beside the built-in relay.",
    )

    def clean_relays(self) -> list[str]:
        try:
            return checked_relays(line.strip() for line in self.cleaned_data["relays"].splitlines() if line.strip())
        except KeycastError as refused:
            raise forms.ValidationError(refused.public_message) from None
