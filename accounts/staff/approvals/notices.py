"""Mails about requests, to those who may decide. They hold no secret, and lead to the platform's own host alone."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string
from django.urls import reverse

from accounts.absolute_urls import platform_origin
from accounts.models import User
from accounts.models.approvals import Approval
from accounts.staff.approvals.kinds import ApprovalKind, kind_of
from accounts.staff.roles import PERMISSIONS, StaffPermission
from accounts.two_person_rule import tell
from keycast.audit.entries import Actor


def notify_approvers(row: Approval, kind: ApprovalKind) -> None:
    """Tell those who may decide, when the transaction has committed; never who asked."""
    context = {"approval": row, "kind": kind, "link": _link(row)}
    deciders = deciders_of(kind.permission_to_approve).exclude(pk=row.asked_by_id)
    _send(deciders, f"Decide: {kind.title}", "asked", context)


def done_by_command(actor: Actor, slug: str, target_id: str, parameters: dict[str, Any]) -> None:
    """Tell security officers what somebody with a shell did without a second person, when it has committed."""
    kind = kind_of(slug)
    context = {"what": kind.describe(target_id, parameters), "kind": kind, "actor": actor.label}
    _send(deciders_of(kind.permission_to_approve), f"Done on the server: {kind.title}", "command", context)


def deciders_of(permission: StaffPermission) -> Any:
    """Active staff whose role has the duty."""
    return User.objects.filter(is_staff=True, is_active=True, staff_role__in=PERMISSIONS[permission])


def _link(row: Approval) -> str:
    origin = platform_origin()
    return f"{origin}{reverse('admin:accounts_approval_change', args=[row.pk])}" if origin else ""


def _send(people: Any, subject: str, template: str, context: dict[str, Any]) -> None:
    text = render_to_string(f"accounts/email/approval_{template}.txt", context)
    tell(people.order_by("email").values_list("email", flat=True), subject, text)
