"""Stopping everything of one's own, or of the whole tenant, at once; and lifting it again, which takes two persons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.models import LockAuthority, Tenant, User
from accounts.models.lock_authority import RANK
from accounts.models.panic import Release
from accounts.panic import services
from accounts.permissions import MemberPermission, can
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.forms import UnlockReasonForm
from accounts.portal.stepup import step_up
from accounts.services import lock_tenant, lock_user
from keycast.base.errors import KeycastError, NotFound

FROM_HERE = "Locked on the emergency page."


@dataclass(frozen=True, slots=True)
class LockOption:
    """One thing that can be locked here, for the page. ``scope`` is ``mine`` or ``everybody``."""

    scope: str
    is_locked: bool
    since: datetime | None
    is_liftable: bool
    holder: str
    release: Release | None
    is_decidable: bool


@portal_view("GET")
def emergency(request: PortalRequest) -> HttpResponse:
    """What is locked, what can be locked, and what waits for a decision."""
    return _page(request)


@portal_view("POST")
def lock_mine(request: PortalRequest) -> HttpResponse:
    """Stop all signing with any key of the person who asks. No proof is asked for: it must work in a hurry."""
    lock_user(actor=actor_of(request), user=request.user, reason=FROM_HERE)
    messages.success(request, "Locked. Nothing is signed with your keys any more.")
    return redirect("portal:emergency")


@portal_view("POST", action=MemberPermission.LOCK_TENANT)
def lock_everybody(request: PortalRequest) -> HttpResponse:
    """Stop all signing for everybody in the tenant."""
    lock_tenant(actor=actor_of(request), tenant=request.tenant, reason=FROM_HERE)
    messages.success(request, f"Locked. Nothing is signed for anybody at {request.tenant.name} any more.")
    return redirect("portal:emergency")


@portal_view("GET", "POST")
def ask_for_mine(request: PortalRequest) -> HttpResponse:
    """Ask an owner or administrator to lift the lock of one's own keys, after a fresh proof."""
    return _ask(request, request.user)


@portal_view("GET", "POST", action=MemberPermission.LOCK_TENANT)
def ask_for_everybody(request: PortalRequest) -> HttpResponse:
    """Ask another owner or administrator to lift the tenant's lock, after a fresh proof."""
    return _ask(request, None)


@portal_view("GET", "POST", action=MemberPermission.LOCK_TENANT)
def decide(request: PortalRequest, release_id: UUID) -> HttpResponse:
    """Grant or refuse what another person asked for, after a fresh proof."""
    release = _release(request, release_id)
    if detour := step_up(request, back_to=request.path):
        return detour
    if request.method == "POST":
        is_granted = request.POST.get("decision") == "grant"
        service = services.grant_release if is_granted else services.refuse_release
        try:
            service(actor=actor_of(request), release=release)
        except KeycastError as refusal:
            messages.error(request, refusal.public_message)
        else:
            messages.success(request, "Lifted. Signing goes on." if is_granted else "Refused. The lock stays.")
        return redirect("portal:emergency")
    return render(request, "portal/emergency_decide.html", {"release": release})


@portal_view("POST")
def withdraw(request: PortalRequest, release_id: UUID) -> HttpResponse:
    """Take one's own request back."""
    release = _release(request, release_id)
    if release.asked_by_id != request.user.pk:
        raise NotFound
    services.withdraw_release(actor=actor_of(request), release=release)
    messages.success(request, "Withdrawn. The lock stays.")
    return redirect("portal:emergency")


def _ask(request: PortalRequest, user: User | None) -> HttpResponse:
    if detour := step_up(request, back_to=request.path):
        return detour
    form = UnlockReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        services.ask_release(actor=actor_of(request), tenant=request.tenant, user=user, reason=reason)
        messages.success(request, "Asked. Whoever may decide has been told by e-mail.")
        return redirect("portal:emergency")
    status = 422 if request.method == "POST" else 200
    return render(request, "portal/emergency_ask.html", {"form": form, "is_mine": user is not None}, status=status)


def _release(request: PortalRequest, release_id: UUID) -> Release:
    found = next((each for each in services.open_releases(request.tenant) if each.pk == release_id), None)
    if found is None:
        raise NotFound
    return found


def _page(request: PortalRequest) -> HttpResponse:
    open_ones = services.open_releases(request.tenant)
    is_leader = can(request.membership, MemberPermission.LOCK_TENANT)
    locks = [_own_lock(request, open_ones)]
    if is_leader:
        locks.append(_tenant_lock(request, open_ones))
    waiting = [each for each in open_ones if is_leader and each.asked_by_id != request.user.pk]
    context = {"locks": locks, "waiting": waiting}
    return render(request, "portal/emergency.html", context)


def _own_lock(request: PortalRequest, open_ones: list[Release]) -> LockOption:
    user = User.objects.get(pk=request.user.pk)
    release = next((each for each in open_ones if each.user_id == user.pk), None)
    return _lock(request, "mine", user.locked_at is not None, user.locked_at, user.locked_by, release)


def _tenant_lock(request: PortalRequest, open_ones: list[Release]) -> LockOption:
    tenant = Tenant.objects.get(pk=request.tenant.pk)
    release = next((each for each in open_ones if each.user_id is None), None)
    return _lock(request, "everybody", tenant.state == Tenant.State.LOCKED, None, tenant.state_set_by, release)


def _lock(
    request: PortalRequest, scope: str, is_locked: bool, since: datetime | None, held_by: str, release: Release | None
) -> LockOption:
    # Never saved: it only asks who could decide, so that nobody asks where nobody can.
    asked_by_me = Release(tenant=request.tenant, asked_by=request.user)
    return LockOption(
        scope=scope,
        is_locked=is_locked,
        since=since,
        is_liftable=RANK[held_by] <= RANK[LockAuthority.TENANT],
        holder=LockAuthority(held_by).label if held_by else "",
        release=release,
        is_decidable=bool(services.decidable_by(asked_by_me)),
    )
