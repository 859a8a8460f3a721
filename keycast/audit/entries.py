"""What a caller says about something that happened, before it becomes a row of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from keycast.audit.tags import AuditOutcome, AuditTag


class AuditPerson(Protocol):
    """What is kept of a user: accounts.User has it, and this app stays below accounts."""

    @property
    def id(self) -> UUID: ...
    @property
    def email(self) -> str: ...


class ActorType(StrEnum):
    """Who acts. Rows are hashed with these words."""

    USER = "user"
    STAFF = "staff"
    CLIENT = "client"
    SYSTEM = "system"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, as they were then: ``type`` is the word of an ActorType.

    ``id`` is 32 hex digits for a person, the client public key (64 hex digits) for an app, a name otherwise.
    ``label`` is for people to read; an app's label is its own claim.
    """

    type: str
    id: str
    label: str

    @classmethod
    def user(cls, user: AuditPerson) -> Actor:
        """A person acting for themselves or as a member of a tenant."""
        return cls(ActorType.USER.value, user.id.hex, user.email)

    @classmethod
    def staff(cls, user: AuditPerson) -> Actor:
        """A person acting as platform staff."""
        return cls(ActorType.STAFF.value, user.id.hex, user.email)

    @classmethod
    def client(cls, public_key: str, label: str = "") -> Actor:
        """A connected app, by its client public key (64 hex digits)."""
        return cls(ActorType.CLIENT.value, public_key, label)

    @classmethod
    def system(cls, name: str) -> Actor:
        """A part of Keycast acting by itself, such as ``bunker`` or ``jobs``."""
        return cls(ActorType.SYSTEM.value, name, name)

    @classmethod
    def command(cls, name: str) -> Actor:
        """Whoever ran ``manage.py NAME`` on the server."""
        return cls(ActorType.COMMAND.value, name, f"manage.py {name}")

    @classmethod
    def anonymous(cls, label: str = "") -> Actor:
        """Somebody who has not signed in, such as the author of a failed sign-in."""
        return cls(ActorType.SYSTEM.value, "anonymous", label)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row to be written.

    ``chain`` comes from services.chain_of; ``key_id`` and ``connection_id`` are 32 hex digits (``UUID.hex``) or empty;
    ``request_id`` is the event id of a NIP-46 request (64 hex digits) or empty. ``data`` holds JSON values of at most
    4 KiB: kinds, sizes, hashes, ids, reasons. Never content, never a secret.
    """

    chain: str
    tag: AuditTag
    outcome: AuditOutcome
    actor: Actor
    key_id: str = ""
    connection_id: str = ""
    request_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
