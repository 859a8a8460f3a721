"""Taking rows as right that were changed past us: after a repair by hand, say. For operators' commands alone."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts.account_seals import EXPORT_RULE, MEMBERSHIP, renew_means
from accounts.models import Membership, Tenant, User
from accounts.services._common import write
from keycast.audit.entries import Actor, ActorType
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted


@transaction.atomic
def seal_account(*, actor: Actor, user: User, reason: str) -> None:
    """Seal the account with the password, addresses and second factors that it has now. Raises NotPermitted."""
    require_command(actor)
    renew_means(user.pk)
    write(AuditTag.ROW_SEALED, actor, what="account", row=user.pk.hex, reason=reason)


@transaction.atomic
def seal_membership(*, actor: Actor, membership: Membership, reason: str) -> None:
    """Seal a place in a tenant with the role and state that it has now. Raises NotPermitted."""
    require_command(actor)
    rows: Any = Membership._base_manager
    row = rows.select_for_update().get(pk=membership.pk)
    rows.filter(pk=row.pk).update(seal=MEMBERSHIP.of(row))
    facts = {"what": "membership", "row": row.user_id.hex, "role": row.role, "reason": reason}
    write(AuditTag.ROW_SEALED, actor, tenant_id=row.tenant_id, **facts)


@transaction.atomic
def seal_export_rule(*, actor: Actor, tenant: Tenant, reason: str) -> None:
    """Seal whether, and after how long, a tenant lets keys be exported, as it says now. Raises NotPermitted."""
    require_command(actor)
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    Tenant.objects.filter(pk=row.pk).update(export_seal=EXPORT_RULE.of(row))
    facts = {"what": "export rule", "row": row.pk.hex, "hours": row.export_wait_hours, "reason": reason}
    write(AuditTag.ROW_SEALED, actor, tenant_id=row.pk, **facts)


def require_command(actor: Actor) -> None:
    """Raises NotPermitted for anybody but a command: no page of the portal or the admin seals what it did not make."""
    if actor.type != ActorType.COMMAND:
        raise NotPermitted
