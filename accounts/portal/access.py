"""Who may see a portal page, and what happens to everybody else. Every portal view passes through here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django_htmx.middleware import HtmxDetails

from accounts.models import Membership, Tenant, User
from accounts.permissions import MemberPermission, require
from accounts.selectors import active_membership_of
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound

P = ParamSpec("P")


class PortalRequest(HttpRequest):
    """A request that passed ``portal_view``, for the type checker: the host's tenant, an active member of it."""

    user: User
    tenant: Tenant
    membership: Membership
    htmx: HtmxDetails


def actor_of(request: PortalRequest) -> Actor:
    """The signed-in person, as the audit log knows them."""
    return Actor.user(request.user)


View = Callable[Concatenate[PortalRequest, P], HttpResponse]


def portal_view(
    *methods: str, action: MemberPermission | None = None
) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]]:
    """Let only active members of this host's tenant through, with one of ``methods``.

    ``action``: what their role must allow (accounts.permissions). A stranger is sent to sign in, a non-member gets a
    page that says so, an object that is not theirs is 404. POST bodies never reach an error report.
    """

    def decorate(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @sensitive_post_parameters()
        @sensitive_variables()
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            refusal = _refusal(request, methods)
            if refusal is not None:
                return refusal
            admitted = cast("PortalRequest", request)
            if action is not None:
                require(admitted.membership, action)
            try:
                return view(admitted, *args, **kwargs)
            except NotFound as missing:
                # Not 403, which would tell a guesser that somebody else has such a thing.
                raise Http404 from missing

        guarded.portal_methods = methods  # type: ignore[attr-defined]  # read by the sweep of the URLconf in the tests
        return guarded

    return decorate


def _refusal(request: HttpRequest, methods: tuple[str, ...]) -> HttpResponseBase | None:
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        raise Http404
    user = request.user
    if not isinstance(user, User):
        return _to_sign_in(request)
    membership = active_membership_of(user, tenant)
    if membership is None:
        return render(request, "portal/not_a_member.html", status=403)
    if request.method not in methods:
        return HttpResponseNotAllowed(methods)
    request.membership = membership  # type: ignore[attr-defined]
    return None


def _to_sign_in(request: HttpRequest) -> HttpResponseBase:
    """To the sign-in page and back; an htmx fragment sends the whole page there, not itself."""
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)
        response["HX-Redirect"] = reverse("account_login")
        return response
    # What was posted is gone after the sign-in, and many addresses take nothing but a POST.
    back = request.get_full_path() if request.method == "GET" else reverse("portal:home")
    return redirect_to_login(back, reverse("account_login"))
