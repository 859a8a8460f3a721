"""Looking at one tenant or person for support: for a reason, for an hour, on record, and known to those it concerns."""

from __future__ import annotations

import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.errors import Conflict, InvalidValue
from accounts.models import Membership, Tenant, User
from accounts.models.support import SupportView
from accounts.services._common import write
from accounts.staff.roles import StaffPermission, require_actor
from accounts.two_person_rule import clean_reason
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotFound, NotPermitted

LIFETIME: Final = datetime.timedelta(minutes=60)


@transaction.atomic
def open_view(*, actor: Actor, tenant: Tenant | None = None, person: User | None = None, reason: str) -> SupportView:
    """Begin to look at one tenant, or at one person and their keys and apps, for an hour.

    The audit row stands in the chain of the tenant, or of each tenant the person belongs to, and in the platform's.
    Raises NotPermitted, Invalid without a reason.
    """
    if actor.type != ActorType.STAFF:
        raise NotPermitted
    require_actor(actor, StaffPermission.SUPPORT_VIEW)
    if (tenant is None) == (person is None):
        raise InvalidValue("Name a tenant or a person.")
    if person is not None and person.is_staff:
        raise NotPermitted("Colleagues are not looked at this way.")
    view = SupportView.objects.create(
        staff_id=UUID(actor.id),
        tenant=tenant,
        person=person,
        reason=clean_reason(reason),
        closes_at=timezone.now() + LIFETIME,
    )
    _write(view, AuditTag.STAFF_VIEWED_TENANT, actor, reason=view.reason, until=view.closes_at.isoformat())
    return view


@transaction.atomic
def close_view(*, actor: Actor, view: SupportView) -> SupportView:
    """Stop looking. Raises NotFound for somebody else's, Conflict when it is over already."""
    row = _own(actor, view.pk)
    if not is_in_force(row):
        raise Conflict("This view is closed already.")
    row.closed_at = timezone.now()
    row.save(update_fields=["closed_at"])
    _write(row, AuditTag.SUPPORT_VIEW_CLOSED, actor)
    return row


def view_in_force(*, actor: Actor, view_id: UUID) -> SupportView:
    """The actor's own view, while its time lasts. Raises NotFound for any other, NotPermitted without the duty."""
    require_actor(actor, StaffPermission.SUPPORT_VIEW)
    row = _own(actor, view_id)
    if not is_in_force(row):
        raise NotFound("This view is closed. Open it again, with a reason.")
    return row


def is_in_force(view: SupportView) -> bool:
    """Whether it is neither closed nor over."""
    return view.closed_at is None and view.closes_at > timezone.now()


def _own(actor: Actor, view_id: UUID) -> SupportView:
    row = SupportView.objects.select_related("tenant", "person").filter(pk=view_id).first()
    if row is None or row.staff_id.hex != actor.id:
        raise NotFound
    return row


def _write(view: SupportView, tag: AuditTag, actor: Actor, **data: str) -> None:
    facts: dict[str, Any] = {"view": view.id.hex, "person": view.person_id.hex if view.person_id else "", **data}
    write(tag, actor, tenant=view.tenant_id.hex if view.tenant_id else "", **facts)
    for tenant_id in _tenants_of(view):
        write(tag, actor, tenant_id=tenant_id, **facts)


def _tenants_of(view: SupportView) -> list[UUID]:
    if view.person_id is None:
        return [view.tenant_id] if view.tenant_id else []
    # A person may have places in several tenants, and the audit log of each is told.
    with scopes_disabled():
        return list(Membership.objects.filter(user_id=view.person_id).values_list("tenant_id", flat=True))
