"""Who may do what to a connection: members by accounts.permissions, the platform only to stop things.

Platform staff may lock and revoke, never connect an app: a bunker URL in their hands would sign as the user.
"""

from __future__ import annotations

from uuid import UUID

from django_scopes import scopes_disabled

from accounts import permissions
from accounts.models import Membership, User
from accounts.permissions import Action
from keycast.audit.entries import Actor
from keycast.errors import NotPermitted
from keys.models import PersonalKey

_STOPPING = frozenset({Action.REVOKE_CONNECTION})


def require(actor: Actor, action: Action, key: PersonalKey) -> None:
    """Let the actor do this to a connection of ``key``, or to ``key`` itself. Raises NotPermitted, NotFound.

    ``system`` and ``command`` actors act on the server itself and are not asked.
    """
    if actor.type in {"system", "command"}:
        return
    if actor.type == "staff":
        if action not in _STOPPING or not User.objects.filter(pk=actor.id, is_staff=True, is_active=True).exists():
            raise NotPermitted
        return
    if actor.type != "user":
        raise NotPermitted
    permissions.require(_membership(UUID(actor.id), key.tenant_id), action, key)


def _membership(user_id: UUID, tenant_id: UUID) -> Membership | None:
    with scopes_disabled():
        return Membership.objects.select_related("tenant", "user").filter(tenant_id=tenant_id, user_id=user_id).first()
