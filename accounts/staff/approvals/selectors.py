"""Reads of requests for approval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.models.approvals import Approval, ApprovalState
from accounts.staff.approvals.kinds import all_kinds, kind_of
from accounts.staff.roles import may
from keycast.base.errors import NotFound

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


def is_open(row: Approval) -> bool:
    """Whether somebody can still decide; one whose time is over is closed, even before the job has said so."""
    return row.state == ApprovalState.OPEN and row.expires_at > timezone.now()


def open_requests() -> QuerySet[Approval]:
    """Those that wait for a decision, the oldest first."""
    rows = Approval.objects.filter(state=ApprovalState.OPEN, expires_at__gt=timezone.now())
    return rows.select_related("asked_by").order_by("asked_at")


def waiting_for(user: User | AnonymousUser) -> int:
    """How many requests this person could decide on now; their own are for others."""
    kinds = [kind.slug for kind in all_kinds() if may(user, kind.permission_to_approve)]
    return open_requests().filter(kind__in=kinds).exclude(asked_by_id=user.pk).count() if kinds else 0


def may_decide(user: User | AnonymousUser, row: Approval) -> bool:
    """Whether this person may approve or deny it."""
    try:
        permission = kind_of(row.kind).permission_to_approve
    except NotFound:
        return False
    return is_open(row) and row.asked_by_id != user.pk and may(user, permission)
