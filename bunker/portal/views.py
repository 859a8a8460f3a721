"""Pages about connected apps: parse, call a service, render."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.permissions import MemberPermission
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.stepup import prove
from bunker import services
from bunker.models import Connection, RequestRate
from bunker.policy import TEMPLATES
from bunker.portal import activity
from bunker.portal.forms import AppNameForm
from bunker.portal.presentation import present
from bunker.selectors import connect_answer_of, connection_of, connections_of
from keys.selectors import key_of

MAX_SHOWN = 300


def own_app(request: PortalRequest, connection_id: UUID) -> Connection:
    """A connection on the signed-in member's own key in this tenant; NotFound for anybody else's."""
    return connection_of(tenant=request.tenant, user=request.user, connection_id=connection_id)


def _to_app(connection: Connection) -> HttpResponse:
    return redirect("apps:detail", connection_id=connection.id)


@portal_view("GET", action=MemberPermission.VIEW_CONNECTION)
def app_list(request: PortalRequest) -> HttpResponse:
    """All apps of the member: live ones first, ended ones below."""
    found = connections_of(tenant=request.tenant, user=request.user)[:MAX_SHOWN]
    shown = [present(connection) for connection in found]
    context = {"live": [app for app in shown if app.is_live], "ended": [app for app in shown if not app.is_live]}
    return render(request, "apps/list.html", context)


@portal_view("GET", action=MemberPermission.VIEW_CONNECTION)
def detail(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """One app: what it may do, what it did, and how to end it."""
    connection = own_app(request, connection_id)
    page = activity.activity_of_connection(
        connection, outcome=request.GET.get("outcome", ""), before=request.GET.get("before", "")
    )
    context = {
        "app": present(connection, connect_answer_of(connection)),
        "rename_form": AppNameForm(initial={"name": connection.name}),
        "activity": page,
        "filters": activity.FILTERS,
    }
    return render(request, "apps/detail.html", context)


@portal_view("GET", action=MemberPermission.VIEW_CONNECTION)
def status(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """How pairing stands: a fragment that asks again every two seconds while the app is awaited.

    No news is 204, which htmx leaves the page alone for: a screen reader hears of the change, not of each question.
    """
    connection = own_app(request, connection_id)
    app = present(connection, connect_answer_of(connection))
    if request.htmx and (app.is_pending or app.is_answer_waiting):
        return HttpResponse(status=204)
    return render(request, "apps/status.html", {"app": app})


@portal_view("POST", action=MemberPermission.MANAGE_CONNECTION)
def rename(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Give the app another name."""
    connection = own_app(request, connection_id)
    form = AppNameForm(request.POST)
    if form.is_valid():
        services.rename_connection(actor=actor_of(request), connection=connection, name=form.cleaned_data["name"])
        messages.success(request, "The app has its new name.")
    else:
        messages.error(request, "The name was not changed: give one of at most 100 characters.")
    return _to_app(connection)


@portal_view("POST", action=MemberPermission.MANAGE_CONNECTION)
def lift_narrowing(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Let the app use all that its policy allows, beyond what it asked for."""
    connection = own_app(request, connection_id)
    template = TEMPLATES.get(connection.policy_slug)
    is_powerful = template is None or template.needs_proof
    if is_powerful and (detour := prove(request, back_to=reverse("apps:detail", args=[connection.id]))):
        return detour
    services.lift_narrowing(actor=actor_of(request), connection=connection)
    messages.success(request, "The app may now use all that its policy allows.")
    return _to_app(connection)


@portal_view("POST", action=MemberPermission.MANAGE_CONNECTION)
def set_request_rate(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Let the app ask as often as a person's app, or as a server."""
    connection = own_app(request, connection_id)
    if request.POST.get("rate") not in RequestRate.values:
        messages.error(request, "Nothing was changed: choose a person's rate or a server's.")
        return _to_app(connection)
    services.set_request_rate(actor=actor_of(request), connection=connection, rate=RequestRate(request.POST["rate"]))
    messages.success(request, "The app may now ask as often as that.")
    return _to_app(connection)


@portal_view("POST", action=MemberPermission.MANAGE_CONNECTION)
def lock(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Refuse whatever the app asks until it is unlocked."""
    connection = own_app(request, connection_id)
    services.lock_connection(actor=actor_of(request), connection=connection)
    messages.success(request, "Locked. Whatever this app asks is refused until you unlock it.")
    return _to_app(connection)


@portal_view("POST", action=MemberPermission.MANAGE_CONNECTION)
def unlock(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Let the app go on, after a fresh proof: a stolen session is what it may have been locked for."""
    connection = own_app(request, connection_id)
    if detour := prove(request, back_to=reverse("apps:detail", args=[connection.id])):
        return detour
    services.unlock_connection(actor=actor_of(request), connection=connection)
    messages.success(request, "Unlocked. The app may go on, within what you granted it.")
    return _to_app(connection)


@portal_view("GET", "POST", action=MemberPermission.REVOKE_CONNECTION)
def revoke(request: PortalRequest, connection_id: UUID) -> HttpResponse:
    """Ask once, then end the app's access for good."""
    connection = own_app(request, connection_id)
    if request.method == "GET":
        return render(request, "apps/revoke.html", {"app": present(connection)})
    services.revoke_connection(actor=actor_of(request), connection=connection, reason="Revoked by its owner.")
    messages.success(request, "Revoked. The app can do nothing with your key any more.")
    return _to_app(connection)


@portal_view("GET", action=MemberPermission.VIEW_KEY)
def key_activity(request: PortalRequest, key_id: UUID) -> HttpResponse:
    """Everything that happened with one key, through whatever app."""
    key = key_of(tenant=request.tenant, user=request.user, key_id=key_id)
    page = activity.activity_of_key(key, outcome=request.GET.get("outcome", ""), before=request.GET.get("before", ""))
    return render(request, "apps/key_activity.html", {"key": key, "activity": page, "filters": activity.FILTERS})
