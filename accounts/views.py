"""Following the link of an invitation."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts.errors import Conflict, InvitationInvalid
from accounts.models import User
from accounts.services import accept_invitation, find_invitation
from accounts.signin.registration import SESSION_TOKEN, invitation_of, tenant_of


@never_cache
@require_GET
def follow_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Keep the token in the session and leave its address behind, so that it stands in no referrer.

    A token that stands for nothing makes no session: anybody could fill the table with them.
    """
    tenant = tenant_of(request)
    if tenant is None or find_invitation(tenant=tenant, token=token) is None:
        return render(request, "accounts/invitation_invalid.html", status=404)
    request.session[SESSION_TOKEN] = token
    return redirect("accounts_invitation_welcome")


@never_cache
@require_http_methods(["GET", "POST"])
def invitation_welcome(request: HttpRequest) -> HttpResponse:
    """Show what one is invited to; a POST by the invited person, signed in, accepts it."""
    invitation = invitation_of(request)
    if invitation is None:
        return render(request, "accounts/invitation_invalid.html", status=404)
    user = request.user
    is_theirs = isinstance(user, User) and user.email.lower() == invitation.email
    if request.method == "POST" and isinstance(user, User) and is_theirs:
        return _accept(request, user)
    context = {"invitation": invitation, "tenant": tenant_of(request), "is_theirs": is_theirs}
    return render(request, "accounts/invitation.html", context)


def _accept(request: HttpRequest, user: User) -> HttpResponse:
    tenant = tenant_of(request)
    if tenant is None:
        raise InvitationInvalid
    try:
        with transaction.atomic():
            accept_invitation(tenant=tenant, token=request.session.pop(SESSION_TOKEN, ""), user=user)
    except Conflict:
        pass  # a member already, and that is all they wanted
    except InvitationInvalid:
        return render(request, "accounts/invitation_invalid.html", status=404)
    return redirect("/")
