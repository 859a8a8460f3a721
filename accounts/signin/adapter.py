"""allauth's hooks for accounts: registration as each tenant has it, safe redirects, limits that cannot be dodged."""

from __future__ import annotations

import unicodedata
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.sites.shortcuts import get_current_site
from django.db import transaction
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.mail import send_later
from accounts.mail.outbox import CODE_LIFE, LIFE
from accounts.models import User
from accounts.signin.integrity import require_whole
from accounts.signin.registration import may_sign_up, tenant_of, welcome
from accounts.staff.gate import SECOND_FACTORS


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    """Chosen by ``ACCOUNT_ADAPTER``."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return may_sign_up(request)

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit=commit)
            if commit:
                welcome(request, saved, is_new=True)
        return saved

    def pre_login(self, request: HttpRequest, user: User, **facts: Any) -> Any:
        require_whole(request, user)
        return super().pre_login(request, user, **facts)

    def set_password(self, user: User, password: str) -> None:
        """Also by a mailed code: a changed address is not to lead to a password of somebody else's."""
        require_whole(allauth_context.request, user)
        super().set_password(user, password)

    def login(self, request: HttpRequest, user: User) -> None:
        require_whole(request, user)
        with transaction.atomic():
            super().login(request, user)
            welcome(request, user, is_new=False)

    def is_safe_url(self, url: str | None) -> bool:
        """A path on the host that was asked, nothing else (threats W7)."""
        if not url or not url.startswith("/"):
            return False
        return url_has_allowed_host_and_scheme(url, allowed_hosts={allauth_context.request.get_host()})

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Who has a second factor proves that one: a password alone is less than they signed in with.

        The first is what they are asked for. allauth puts recovery codes, which everybody with a passkey has, before
        the passkey itself; they come last here.
        """
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if not user.is_authenticated or not is_mfa_enabled(user, SECOND_FACTORS):
            return methods
        methods = [method for method in methods if method["id"] != "reauthenticate"]
        return methods if is_mfa_enabled(user, [Authenticator.Type.TOTP]) else methods[::-1]

    def format_email_subject(self, subject: str) -> str:
        tenant = tenant_of(allauth_context.request)
        return f"[{tenant.name if tenant else 'Keycast'}] {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """By way of the outbox, as all mail goes; one with a code is of no use once the code has run out."""
        request = allauth_context.request
        shown = {"request": request, "email": email, "current_site": get_current_site(request), **context}
        message = self.render_mail(template_prefix, email, shown)
        html = next((body for body, kind in message.alternatives if kind == "text/html"), "")
        life = CODE_LIFE if "code" in context else LIFE
        send_later(to=email, subject=message.subject, text=message.body, html=html, life=life)

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Failed sign-ins are counted per account, however its address is written and on whatever host (W11)."""
        login = credentials.get("email") or credentials.get("username") or ""
        return "login:" + unicodedata.normalize("NFKC", login).strip().casefold()
