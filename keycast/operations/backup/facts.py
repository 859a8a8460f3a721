"""What a list of endings comes to, object by object: the last word on each counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from keycast.audit.restore_journal import JournalEntry
from keycast.audit.tags import AuditTag

Member = tuple[str, str]
"""Tenant and user, both 32 hex digits."""


@dataclass(slots=True)
class JournalFacts:
    """Ids (32 hex digits) by what is true of them. ``made`` maps keys that came to be to their public keys."""

    made: dict[str, str] = field(default_factory=dict)
    destroyed: set[str] = field(default_factory=set)
    stopped_keys: dict[str, str] = field(default_factory=dict)
    changed_keys: dict[str, str] = field(default_factory=dict)
    replaced_keys: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    locked_connections: set[str] = field(default_factory=set)
    locked_users: set[str] = field(default_factory=set)
    closed_users: set[str] = field(default_factory=set)
    former_staff: set[str] = field(default_factory=set)
    suspended_members: set[Member] = field(default_factory=set)
    removed_members: set[Member] = field(default_factory=set)
    locked_tenants: set[str] = field(default_factory=set)
    suspended_tenants: set[str] = field(default_factory=set)
    is_deployment_locked: bool | None = None


def facts_from(entries: Iterable[JournalEntry]) -> JournalFacts:
    """The facts, with endings in the order in which they happened."""
    facts = JournalFacts()
    for entry in entries:
        _note(facts, entry)
    return facts


def _note(facts: JournalFacts, entry: JournalEntry) -> None:
    tag = _TAGS.get(entry.tag)
    if tag is AuditTag.KEY_CREATED or tag is AuditTag.KEY_IMPORTED:
        facts.made[entry.key] = entry.data.get("public_key", "")
    elif tag is AuditTag.KEY_DESTROYED:
        facts.destroyed.add(entry.key)
    elif tag in _STOPS_OF_KEYS:
        facts.stopped_keys[entry.key] = _STOPS_OF_KEYS[tag]
    elif tag is AuditTag.KEY_UNLOCKED or tag is AuditTag.KEY_ENABLED:
        facts.stopped_keys.pop(entry.key, None)
    elif tag in _CHANGES_OF_KEYS:
        facts.changed_keys[entry.key] = _CHANGES_OF_KEYS[tag]
    elif tag is AuditTag.KEY_IDENTITY_ROTATED:
        facts.replaced_keys.add(entry.key)
    elif tag in _SETS:
        of, into, out = _SETS[tag]
        for name in into:
            getattr(facts, name).add(of(entry))
        for name in out:
            getattr(facts, name).discard(of(entry))
    elif tag is AuditTag.DEPLOYMENT_LOCKED or tag is AuditTag.DEPLOYMENT_UNLOCKED:
        facts.is_deployment_locked = tag is AuditTag.DEPLOYMENT_LOCKED


_TAGS: Final = {tag.value: tag for tag in AuditTag}
_STOPS_OF_KEYS: Final[dict[AuditTag | None, str]] = {
    AuditTag.KEY_LOCKED: "It had been locked before this backup was restored.",
    AuditTag.KEY_DISABLED: "It had been disabled before this backup was restored.",
    AuditTag.KEY_QUARANTINED: "It had failed its integrity check before this backup was restored.",
    AuditTag.KEY_DESTRUCTION_SCHEDULED: "Its destruction had been scheduled before this backup was restored.",
    AuditTag.KEY_DESTRUCTION_CANCELLED: "It had been disabled before this backup was restored.",
}
_CHANGES_OF_KEYS: Final[dict[AuditTag | None, str]] = {
    AuditTag.KEY_CONVERTED: "It had been converted to a split key; this backup holds its old form.",
    AuditTag.KEY_HALVES_REFRESHED: "Its halves were refreshed after this backup, so they fit no longer.",
}
_Of = Callable[[JournalEntry], str | Member]


def _connection(entry: JournalEntry) -> str:
    return entry.connection


def _user(entry: JournalEntry) -> str:
    return entry.data.get("user", "")


def _member(entry: JournalEntry) -> Member:
    return entry.chain, entry.data.get("user", "")


def _tenant(entry: JournalEntry) -> str:
    return entry.chain


_SETS: Final[dict[AuditTag | None, tuple[_Of, tuple[str, ...], tuple[str, ...]]]] = {
    AuditTag.CONNECTION_BOUND: (_connection, ("bound",), ()),
    AuditTag.CONNECTION_REVOKED: (_connection, ("ended",), ()),
    AuditTag.CONNECTION_LOGGED_OUT: (_connection, ("ended",), ()),
    AuditTag.CONNECTION_EXPIRED: (_connection, ("ended",), ()),
    AuditTag.CONNECTION_LAPSED: (_connection, ("ended",), ()),
    AuditTag.CONNECTION_LOCKED: (_connection, ("locked_connections",), ()),
    AuditTag.CONNECTION_UNLOCKED: (_connection, (), ("locked_connections",)),
    AuditTag.USER_LOCKED: (_user, ("locked_users",), ()),
    AuditTag.USER_UNLOCKED: (_user, (), ("locked_users",)),
    AuditTag.USER_DEACTIVATED: (_user, ("closed_users",), ()),
    AuditTag.USER_REACTIVATED: (_user, (), ("closed_users",)),
    AuditTag.USER_STAFF_ENDED: (_user, ("former_staff",), ()),
    AuditTag.USER_MADE_STAFF: (_user, (), ("former_staff",)),
    AuditTag.MEMBERSHIP_ADDED: (_member, (), ("removed_members", "suspended_members")),
    AuditTag.MEMBERSHIP_SUSPENDED: (_member, ("suspended_members",), ()),
    AuditTag.MEMBERSHIP_RESUMED: (_member, (), ("suspended_members",)),
    AuditTag.MEMBERSHIP_REMOVED: (_member, ("removed_members",), ()),
    AuditTag.TENANT_LOCKED: (_tenant, ("locked_tenants",), ()),
    AuditTag.TENANT_UNLOCKED: (_tenant, (), ("locked_tenants",)),
    AuditTag.TENANT_SUSPENDED: (_tenant, ("suspended_tenants",), ()),
    AuditTag.TENANT_RESUMED: (_tenant, (), ("suspended_tenants", "locked_tenants")),
}
