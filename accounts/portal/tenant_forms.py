"""Forms about a tenant. Each names exactly the fields it takes; whatever else is posted goes nowhere (threats W8)."""

from __future__ import annotations

from django import forms

from accounts.colours import is_colour, is_readable
from accounts.models import Tenant


class BrandingForm(forms.Form):
    """What people see of the place: its name and its colour."""

    name = forms.CharField(
        label="Name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="On every page, and in e-mails from here.",
    )  # fmt: skip
    has_colour = forms.BooleanField(label="Use a colour of our own", required=False)
    accent = forms.CharField(
        label="Colour", max_length=7, required=False, widget=forms.TextInput(attrs={"type": "color"}),
        help_text="For links and buttons. It has to be dark enough to read white letters on it; "
        "for dark mode a lighter shade is made from it.",
    )  # fmt: skip

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or {}
        accent = str(cleaned.get("accent", "")).lower() if cleaned.get("has_colour") else ""
        if cleaned.get("has_colour") and not is_colour(accent):
            self.add_error("accent", "Choose a colour.")
        elif accent and not is_readable(accent):
            self.add_error("accent", "White letters on this colour could not be read. Choose a darker one.")
        cleaned["accent"] = accent
        return cleaned


class RegistrationForm(forms.Form):
    """Who may become a member."""

    registration = forms.ChoiceField(
        label="Who may join",
        widget=forms.RadioSelect,
        choices=[
            (Tenant.Registration.OPEN.value, "Anyone who confirms an e-mail address"),
            (Tenant.Registration.INVITATION.value, "Only people whom an owner or administrator invites"),
            (
                Tenant.Registration.CLOSED.value,
                "Nobody signs up; invitations work only for people who have an account on this server already",
            ),
        ],
    )


class DomainForm(forms.Form):
    """A host name to claim."""

    host = forms.CharField(
        label="Host name",
        max_length=255,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "inputmode": "url"}
        ),
        help_text="One that you control, such as keys.example.org. Point it at this server when it is proved.",
    )
