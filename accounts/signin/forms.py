"""allauth's forms, where a tenant's rules reach into them."""

from __future__ import annotations

import secrets
from typing import Any

from allauth.account.forms import SignupForm as AllauthSignupForm
from allauth.core import context
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import Tenant, User
from accounts.services._common import write
from accounts.signin.registration import invitation_of, tenant_of
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag


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

    def try_save(self, request: HttpRequest) -> Any:
        """Make the account in one transaction; for an address that has one, do the same work and keep none of it.

        Else the answer's time would tell: an account costs a password hash and several writes. What is kept instead is
        a row of the log, so that both end with one commit.
        """
        if not self.account_already_exists:
            with transaction.atomic():
                return super().try_save(request)
        address = self.cleaned_data["email"]
        with transaction.atomic():
            with transaction.atomic():
                self._pretend_to_save(request, address)
                transaction.set_rollback(True)
            is_theirs = Q(email__iexact=address) | Q(emailaddress__email__iexact=address)
            for known in User.objects.filter(is_theirs).distinct()[:1]:
                write(AuditTag.SIGN_UP_REPEATED, Actor.system("sign-up"), user=known.id.hex)
        return super().try_save(request)

    def _pretend_to_save(self, request: HttpRequest, address: str) -> None:
        self.account_already_exists = False
        self.cleaned_data["email"] = f"{secrets.token_hex(16)}@invalid.invalid"
        try:
            self.save(request)
        finally:
            self.account_already_exists = True
            self.cleaned_data["email"] = address
