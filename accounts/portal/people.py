"""The people of a tenant: who belongs to it, and who was invited."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.models import Membership, Role
from accounts.permissions import MemberPermission, can
from accounts.portal.access import PortalRequest, actor_of, portal_view
from accounts.portal.forms import InviteForm
from accounts.selectors import get_invitation, get_member, members_of, pending_invitations
from accounts.services.invitations import invite, withdraw_invitation
from accounts.services.members import change_role, resume_member, suspend_member
from keycast.base.errors import KeycastError

MAX_SHOWN = 500


@portal_view("GET", action=MemberPermission.VIEW_PEOPLE)
def people(request: PortalRequest) -> HttpResponse:
    """Members and open invitations; buttons as the viewer's role allows."""
    return people_page(request, InviteForm(inviter=request.membership))


def people_page(request: PortalRequest, form: InviteForm, status: int = 200) -> HttpResponse:
    """The list with this state of the invitation form."""
    mine = request.membership
    context = {
        "members": [_row(mine, member) for member in members_of(request.tenant)[:MAX_SHOWN]],
        "invitations": pending_invitations(request.tenant)[:MAX_SHOWN],
        "form": form,
        "may_invite": can(mine, MemberPermission.INVITE),
    }
    return render(request, "portal/people.html", context, status=status)


def _row(mine: Membership, member: Membership) -> dict[str, object]:
    """One member and what the viewer may do to them."""
    may_change = can(mine, MemberPermission.CHANGE_ROLE, member)
    roles = (
        [role for role in Role if role != member.role and can(mine, MemberPermission.CHANGE_ROLE, role)]
        if may_change
        else []
    )
    return {
        "member": member,
        "is_me": member.user_id == mine.user_id,
        "may_suspend": can(mine, MemberPermission.SUSPEND_MEMBER, member),
        "roles": roles,
    }


@portal_view("POST", action=MemberPermission.INVITE)
def invite_person(request: PortalRequest) -> HttpResponse:
    """Send an invitation by e-mail."""
    form = InviteForm(request.POST, inviter=request.membership)
    if not form.is_valid():
        return people_page(request, form, status=422)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    try:
        invite(actor=actor_of(request), tenant=request.tenant, email=email, role=role, by=request.membership)
    except KeycastError as refused:
        form.add_error(None, refused.public_message)
        return people_page(request, form, status=refused.http_status)
    messages.success(request, f"The invitation is on its way to {email}.")
    return redirect("portal:people")


@portal_view("POST", action=MemberPermission.INVITE)
def withdraw(request: PortalRequest, invitation_id: UUID) -> HttpResponse:
    """Make an open invitation worthless."""
    invitation = get_invitation(request.tenant, invitation_id)
    withdraw_invitation(actor=actor_of(request), invitation=invitation, by=request.membership)
    messages.success(request, "The invitation was withdrawn.")
    return redirect("portal:people")


@portal_view("POST", action=MemberPermission.SUSPEND_MEMBER)
def suspend(request: PortalRequest, membership_id: int) -> HttpResponse:
    """Take away somebody's access here, for a while."""
    member = get_member(request.tenant, membership_id)
    suspend_member(actor=actor_of(request), membership=member, by=request.membership)
    messages.success(request, f"{member.user.email} is suspended: no sign-in here, and nothing is signed for them.")
    return redirect("portal:people")


@portal_view("POST", action=MemberPermission.SUSPEND_MEMBER)
def resume(request: PortalRequest, membership_id: int) -> HttpResponse:
    """Give suspended access back."""
    member = get_member(request.tenant, membership_id)
    resume_member(actor=actor_of(request), membership=member, by=request.membership)
    messages.success(request, f"{member.user.email} is back.")
    return redirect("portal:people")


@portal_view("POST", action=MemberPermission.CHANGE_ROLE)
def set_role(request: PortalRequest, membership_id: int) -> HttpResponse:
    """Give a member another role."""
    member = get_member(request.tenant, membership_id)
    role = str(request.POST.get("role", ""))
    change_role(actor=actor_of(request), membership=member, role=role, by=request.membership)
    messages.success(request, f"{member.user.email} has another role now.")
    return redirect("portal:people")
