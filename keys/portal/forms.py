"""Forms about keys. Each names exactly the fields it takes; whatever else is posted goes nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from accounts.services.tenants import MAX_EXPORT_WAIT_HOURS
from keys.exporting.rules import DEFAULT_WAIT_HOURS
from keys.portal.choices import KeyModeChoice

_SECRET_ATTRS = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class KeyNameForm(forms.Form):
    """A key's name, for its owner's eyes only."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="For you, to tell your keys apart. It is not published.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class CreateKeyForm(KeyNameForm):
    """A new key in one of the ways of keeping that the tenant offers."""

    choice = forms.ChoiceField(label="How it is kept", widget=forms.RadioSelect)

    def __init__(self, *args: Any, choices: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["choice"] = forms.ChoiceField(
            label="How it is kept",
            choices=choices,
            widget=forms.RadioSelect,
            initial=self.initial.get("choice") or (choices[0][0] if choices else None),
        )


class ImportKeyForm(CreateKeyForm):
    """An existing secret key. The widgets never put what was typed back on the page."""

    secret = forms.CharField(
        label="Secret key",
        max_length=1000,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs=_SECRET_ATTRS),
        help_text="An nsec1…, 64 hexadecimal digits, or a password-protected ncryptsec1…",
    )
    password = forms.CharField(
        label="Password of the ncryptsec",
        required=False,
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(render_value=False, attrs=_SECRET_ATTRS),
        help_text="Only for a secret key that starts with ncryptsec1.",
    )
    understood = forms.BooleanField(
        label="I have a safe copy of this key, and nobody else has one.",
        error_messages={"required": "Please confirm this before you import."},
    )

    split = forms.CharField(required=False, max_length=4000, widget=forms.HiddenInput)

    field_order = ("name", "secret", "password", "choice", "understood")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the page's script sends instead.
        self.fields["secret"].required = not self.data.get("split")

    def clean(self) -> dict[str, Any]:
        """Either the key, or what the page made of it: never both, for then the page had not kept it back."""
        cleaned = super().clean() or {}
        if cleaned.get("secret") and cleaned.get("split"):
            self.add_error("secret", "This page sent the key itself too, so nothing was imported.")
        return cleaned


class DestroyForm(forms.Form):
    """Typed confirmation: the key's own name, letter by letter."""

    confirmation = forms.CharField(
        label="Type the name of the key to confirm",
        max_length=100,
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, key_name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._key_name = key_name

    def clean_confirmation(self) -> str:
        typed: str = self.cleaned_data["confirmation"]
        if typed != self._key_name:
            raise forms.ValidationError("This is not the name of the key. Nothing was changed.")
        return typed


class ModesForm(forms.Form):
    """Which key modes a tenant offers, and which first: those that the deployment has, or that are offered ``now``."""

    key_modes = forms.MultipleChoiceField(label="Ways of keeping keys that are offered")
    default_key_mode = forms.ChoiceField(label="Offered first")
    exports = forms.BooleanField(
        label="People may take their encrypted keys with them, under a password (ncryptsec).", required=False
    )
    export_wait_hours = forms.IntegerField(
        label="Hours between asking and downloading",
        required=False,
        min_value=0,
        max_value=MAX_EXPORT_WAIT_HOURS,
        help_text="The owner is told by mail at once, and can cancel. 0 leaves no time for that.",
    )

    def __init__(self, *args: Any, choices: Sequence[KeyModeChoice], now: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names: dict[str, list[str]] = {}
        for choice in choices:
            if choice.offer.is_available or choice.offer.key_mode in now:
                names.setdefault(choice.offer.key_mode, []).append(choice.name)
        options = [(mode, " or ".join(dict.fromkeys(known))) for mode, known in names.items()]
        self.fields["key_modes"] = forms.MultipleChoiceField(
            label="Ways of keeping keys that are offered",
            choices=options,
            widget=forms.CheckboxSelectMultiple,
            error_messages={"required": "Offer at least one way, or nobody could make a key."},
        )
        self.fields["default_key_mode"] = forms.ChoiceField(
            label="Offered first", choices=options, widget=forms.RadioSelect
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first = cleaned.get("default_key_mode")
        if first and cleaned.get("key_modes") and first not in cleaned["key_modes"]:
            self.add_error("default_key_mode", "What is offered first has to be among what is offered.")
        wait = cleaned.get("export_wait_hours")
        cleaned["export_wait_hours"] = (
            (DEFAULT_WAIT_HOURS if wait is None else wait) if cleaned.get("exports") else None
        )
        return cleaned
