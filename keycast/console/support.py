"""What support sees of one tenant or person: states, names and times. Never key material, never a way to act."""

from __future__ import annotations

from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.db.models import Count
from django_scopes import scope, scopes_disabled

from accounts.models import KeyMode, Membership, Role, Tenant, TenantDomain, User
from accounts.models.support import SupportView
from bunker.models import Connection
from keycast.audit.selectors import page_of_person
from keycast.audit.services import PLATFORM, chain_of
from keycast.nostr.nip19 import encode_npub
from keys.models import KeyState, PersonalKey

SHOWN: Final = 50


def collect(view: SupportView) -> dict[str, Any]:
    """Everything the page of this view needs, in a fixed number of queries."""
    if view.tenant:
        with scope(tenant=view.tenant):
            return _tenant(view.tenant)
    # A person's keys and places may lie in several tenants.
    with scopes_disabled():
        return _person(view.person) if view.person else {}


def _tenant(tenant: Tenant) -> dict[str, Any]:
    keys = PersonalKey.objects.filter(tenant=tenant).order_by()
    apps = Connection.objects.filter(tenant=tenant).order_by()
    members = Membership.objects.filter(tenant=tenant).order_by()
    return {
        "tenant": tenant,
        "domains": list(TenantDomain.objects.filter(tenant=tenant)),
        "owners": [place.user for place in members.filter(role=Role.OWNER).select_related("user")[:SHOWN]],
        "counts": [
            ("Members", _counted(members, "state")),
            ("Keys", _counted(keys, "state")),
            ("Apps", _counted(apps, "state")),
        ],
    }


def _person(person: User) -> dict[str, Any]:
    kinds = Authenticator.objects.filter(user=person).values_list("type", flat=True)
    places = list(Membership.objects.filter(user=person).select_related("tenant")[:SHOWN])
    return {
        "person": person,
        "factors": sorted({str(Authenticator.Type(kind).label) for kind in kinds}),
        "places": places,
        "keys": [_key(row) for row in _keys_of(person)],
        "apps": list(_apps_of(person)),
        "history": _history(person, [place.tenant for place in places]),
    }


def _keys_of(person: User) -> Any:
    shown = ("id", "public_key", "name", "key_mode", "state", "state_reason", "state_changed_at", "tenant__name")
    rows = PersonalKey.objects.filter(user=person).exclude(state=KeyState.DESTROYED)
    return rows.order_by("-created_at").values(*shown)[:SHOWN]


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "npub": encode_npub(row["public_key"]) if row["public_key"] else "",
        "mode": KeyMode(row["key_mode"]).label,
        "state_label": KeyState(row["state"]).label,
        "tenant": row["tenant__name"],
    }


def _apps_of(person: User) -> Any:
    shown = ("name", "state", "policy_slug", "last_used_at", "end_reason", "key__name")
    return Connection.objects.filter(key__user=person).order_by("-created_at").values(*shown)[:SHOWN]


def _history(person: User, tenants: list[Tenant]) -> list[Any]:
    """Their newest sign-ins and changes, of every tenant they belong to and of the platform."""
    chains = [PLATFORM, *(chain_of(tenant.id) for tenant in tenants[:5])]
    lines = [line for chain in chains for line in page_of_person(chain=chain, actor_id=person.id.hex, limit=10).lines]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:20]


def _counted(rows: Any, field: str) -> list[tuple[str, int]]:
    return [(str(state), number) for state, number in rows.values_list(field).annotate(number=Count("pk"))]
