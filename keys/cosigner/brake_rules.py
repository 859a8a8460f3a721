"""What the co-signer's operator has stopped and bounded: rows of its own database, which signer A cannot reach.

``manage.py cosigner stop`` and ``limits`` write them beside a serving co-signer (keys.cosigner.operator); the serving
process reads them again inside the next transaction (keys.cosigner.brake).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS cosigner_stop (scope TEXT PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, "
    "reason TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS cosigner_limit (scope TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL, "
    "PRIMARY KEY (scope, what))",
    # scope is the id of a key or of a tenant (16 bytes); day counts from 1970-01-01 UTC; told: which alarms were given
    "CREATE TABLE IF NOT EXISTS cosigner_spent (scope BLOB NOT NULL, use TEXT NOT NULL, day INTEGER NOT NULL, "
    "count INTEGER NOT NULL, told INTEGER NOT NULL, PRIMARY KEY (scope, use, day)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS log_of_key ON audit_auditrow (key_id, sequence)",
)
MAX_KIND: Final = 65_535


class CosignerUse(StrEnum):
    """What a half is used for, and counted by the day."""

    SIGNATURES = "signatures"
    OPENINGS = "openings"


KINDS: Final = "kinds"
ASKED: Final = "asked"
"""Whether an app must have asked for a use: ``required``, or ``where-available``."""
APPS: Final = "apps"
"""Whether signer A may tell of further apps: ``open``, or ``closed``."""
REQUIRED, WHERE_AVAILABLE = "required", "where-available"
OPEN, CLOSED = "open", "closed"
CHOICES: Final = {ASKED: (WHERE_AVAILABLE, REQUIRED), APPS: (OPEN, CLOSED)}
WITHOUT_APP: Final = "no-app"
TRIAL: Final = "trial"
"""What the log calls uses that no app asked for: any; and that of keys.signing.cosigning.trial_event."""


@dataclass(frozen=True, slots=True)
class CosignerScope:
    """One key, one tenant, or everything; as a limit also every key or every tenant that has none of its own."""

    kind: str
    id: UUID | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id.hex}" if self.id else self.kind

    @property
    def id_bytes(self) -> bytes:
        """The 16 bytes of a key's or a tenant's id; none of everything."""
        return self.id.bytes if self.id else b""

    @property
    def in_words(self) -> str:
        """For people."""
        return f"{self.kind} {self.id}" if self.id else _WORDS[self.kind]


EVERYTHING: Final = CosignerScope("all")
EVERY_KEY: Final = CosignerScope("every-key")
EVERY_TENANT: Final = CosignerScope("every-tenant")
_WORDS: Final = {"all": "everything", "every-key": "every key", "every-tenant": "every tenant"}


def key_scope(key_id: UUID) -> CosignerScope:
    """One key."""
    return CosignerScope("key", key_id)


def tenant_scope(tenant_id: UUID) -> CosignerScope:
    """One tenant with all its keys."""
    return CosignerScope("tenant", tenant_id)


class UnreadableKindsError(ValueError):
    """Kinds are numbers and ranges of them, such as ``1,7,10000-19999``."""

    def __str__(self) -> str:
        return "Give kinds as numbers and ranges, such as 0,1,7,10000-19999."


def kinds(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges of event kinds, both ends included. Raises UnreadableKindsError."""
    ranges = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UnreadableKindsError
        ranges.append((int(first), int(last if dash else first)))
    if not ranges or any(first > last or last > MAX_KIND for first, last in ranges):
        raise UnreadableKindsError
    return tuple(ranges)


class UnknownChoiceError(ValueError):
    """A bound that is a choice has one of its values."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is {' or '.join(CHOICES[what])}.")


@dataclass(frozen=True, slots=True)
class CosignerStop:
    """Who stopped it, when (Unix time in microseconds), and why."""

    scope: str
    at: int
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class BrakeDefaults:
    """Bounds where the operator has set none by command: uses a day (0: none), and kinds (empty: all)."""

    key_signatures: int = 0
    key_openings: int = 0
    tenant_signatures: int = 0
    tenant_openings: int = 0
    kinds: str = ""
    asked: str = WHERE_AVAILABLE
    apps: str = OPEN

    def limits(self) -> dict[tuple[str, str], str]:
        """As rows of ``cosigner_limit``."""
        given = {
            (str(EVERY_KEY), CosignerUse.SIGNATURES.value): str(self.key_signatures),
            (str(EVERY_KEY), CosignerUse.OPENINGS.value): str(self.key_openings),
            (str(EVERY_TENANT), CosignerUse.SIGNATURES.value): str(self.tenant_signatures),
            (str(EVERY_TENANT), CosignerUse.OPENINGS.value): str(self.tenant_openings),
        }
        if self.kinds:
            kinds(self.kinds)  # or UnreadableKindsError: what cannot be read must not count as no bound
            given[str(EVERYTHING), KINDS] = self.kinds
        for what, value in ((ASKED, self.asked), (APPS, self.apps)):
            if value not in CHOICES[what]:
                raise UnknownChoiceError(what)
            given[str(EVERYTHING), what] = value
        return given


@dataclass(frozen=True)
class BrakeRules:
    """All of it, as it was at one moment."""

    stops: dict[str, CosignerStop] = field(default_factory=dict)
    limits: dict[tuple[str, str], str] = field(default_factory=dict)

    def stop_of(self, tenant: CosignerScope, key: CosignerScope) -> CosignerStop | None:
        """The widest stop that holds for a key."""
        return next((stop for scope in (EVERYTHING, tenant, key) if (stop := self.stops.get(str(scope)))), None)

    def budget(self, scope: CosignerScope, use: CosignerUse) -> int:
        """Uses a day of one key or one tenant; 0: no bound."""
        own = self.limits.get((str(scope), use.value))
        default = EVERY_KEY if scope.kind == "key" else EVERY_TENANT
        return int(self.limits.get((str(default), use.value), "0") if own is None else own)

    def allows(self, tenant: CosignerScope, key: CosignerScope, kind: int) -> bool:
        """Whether every bound on kinds that holds for a key has this one."""
        for scope in (EVERYTHING, tenant, key):
            allowed = self.limits.get((str(scope), KINDS))
            if allowed is not None and not any(first <= kind <= last for first, last in kinds(allowed)):
                return False
        return True

    def chooses(self, tenant: CosignerScope, key: CosignerScope, what: str, value: str) -> bool:
        """Whether the narrowest scope that says anything of ``what`` says this; where none does, its first choice."""
        said = (self.limits.get((str(scope), what)) for scope in (key, tenant, EVERYTHING))
        return next(filter(None, said), CHOICES[what][0]) == value

    @property
    def bounds_kinds(self) -> bool:
        return any(what == KINDS for _, what in self.limits)


def create_tables(connection: sqlite3.Connection) -> None:
    """Where they are missing."""
    for statement in _SCHEMA:
        connection.execute(statement)


def load(connection: sqlite3.Connection, defaults: BrakeDefaults) -> BrakeRules:
    """The rules as they are now."""
    stops = {
        row[0]: CosignerStop(*row) for row in connection.execute("SELECT scope, at, who, reason FROM cosigner_stop")
    }
    rows = connection.execute("SELECT scope, what, value FROM cosigner_limit")
    return BrakeRules(stops, {**defaults.limits(), **{(scope, what): value for scope, what, value in rows}})


def set_stop(connection: sqlite3.Connection, stop: CosignerStop) -> None:
    """Stop a scope, or change the reason."""
    connection.execute(
        "INSERT OR REPLACE INTO cosigner_stop VALUES (?, ?, ?, ?)", (stop.scope, stop.at, stop.who, stop.reason)
    )


def lift_stop(connection: sqlite3.Connection, scope: CosignerScope) -> bool:
    """Lift the stop of exactly this scope; whether there was one."""
    return connection.execute("DELETE FROM cosigner_stop WHERE scope = ?", (str(scope),)).rowcount == 1


def set_limit(connection: sqlite3.Connection, scope: CosignerScope, what: str, value: str | None) -> None:
    """Bound a scope; None takes the bound away, so that the wider one holds."""
    connection.execute("DELETE FROM cosigner_limit WHERE scope = ? AND what = ?", (str(scope), what))
    if value is not None:
        connection.execute("INSERT INTO cosigner_limit VALUES (?, ?, ?)", (str(scope), what, value))
