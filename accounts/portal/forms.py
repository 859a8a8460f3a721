"""Forms about people."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.models import Membership, Role
from accounts.permissions import MemberPermission, can


class InviteForm(forms.Form):
    """An e-mail address and the role it is invited to; only roles that the inviter may give."""

    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: Any, inviter: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = (Role.MEMBER, Role.ADMIN, Role.AUDITOR, Role.OWNER)
        given = [role for role in roles if can(inviter, MemberPermission.INVITE, role)]
        self.fields["role"] = forms.ChoiceField(label="Role", choices=[(role.value, role.label) for role in given])


class UnlockReasonForm(forms.Form):
    """Why something is asked for; the next person reads it, and the log keeps it."""

    reason = forms.CharField(label="Reason", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))
