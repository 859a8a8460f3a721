"""allauth's forms, where a tenant's rules reach into them."""

from __future__ import annotations

from allauth.account.forms import SignupForm as AllauthSignupForm
from allauth.core import context
from django.core.exceptions import ValidationError

from accounts.models import Tenant
from accounts.signin.registration import invitation_of, tenant_of


class SignupForm(AllauthSignupForm):  # type: ignore[misc]  # allauth is untyped
    """Where registration is by invitation, only the invited address can sign up."""

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        tenant = tenant_of(context.request)
        if tenant is None or tenant.registration != Tenant.Registration.OPEN:
            invitation = invitation_of(context.request)
            if invitation is None or invitation.email != email:
                raise ValidationError("Please use the e-mail address that was invited.")
        return str(super().clean_email())
