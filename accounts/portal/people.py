"""The people of a tenant: who belongs to it, and who was invited."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from accounts.permissions import Action, can
from accounts.portal.access import PortalRequest, portal_view
from accounts.portal.forms import InviteForm
from accounts.selectors import members_of, pending_invitations

MAX_SHOWN = 500


@portal_view("GET", action=Action.VIEW_PEOPLE)
def people(request: PortalRequest) -> HttpResponse:
    """Members and open invitations; buttons as the viewer's role allows."""
    return people_page(request, InviteForm(inviter=request.membership))


def people_page(request: PortalRequest, form: InviteForm, status: int = 200) -> HttpResponse:
    """The list with this state of the invitation form."""
    mine = request.membership
    members = [
        {
            "member": member,
            "is_me": member.user_id == request.user.id,
            "may_suspend": can(mine, Action.SUSPEND_MEMBER, member),
        }
        for member in members_of(request.tenant)[:MAX_SHOWN]
    ]
    context = {
        "members": members,
        "invitations": pending_invitations(request.tenant)[:MAX_SHOWN],
        "form": form,
        "may_invite": can(mine, Action.INVITE),
    }
    return render(request, "portal/people.html", context, status=status)
