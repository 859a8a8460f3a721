"""Is everything in working order? Read by /readyz, the admin's dashboard, the watchdog and ``doctor``.

A part adds what it knows by ``register(look)``; a look returns one Finding, or None while there is nothing to say.
Looks are asked every few seconds: a query or two, never the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from bunker.models import WorkerSeat

SEAT_FRESH_MS = 15_000
"""A worker whose last heartbeat is older than this is not there."""


class Severity(IntEnum):
    """How bad it is when a finding is not ok. Only CRITICAL takes the process out of a load balancer (/readyz)."""

    NOTE = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One look at one thing. ``detail`` is a plain sentence for operators; ``fix`` says what to do when not ok.

    ``link`` is the name of the admin page where it is put right, as ``reverse`` takes it; it takes no arguments.
    ``tells``: the watchdog writes to staff when it is not ok for a while, and again when it is (keycast.operations).
    """

    name: str
    is_ok: bool
    detail: str
    fix: str = ""
    severity: Severity = Severity.CRITICAL
    link: str = ""
    tells: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    findings: tuple[Finding, ...]

    @property
    def is_ready(self) -> bool:
        return all(finding.is_ok or finding.severity < Severity.CRITICAL for finding in self.findings)

    @property
    def attention(self) -> list[Finding]:
        """What is not ok, worst first."""
        return sorted((finding for finding in self.findings if not finding.is_ok), key=lambda each: -each.severity)

    def as_dict(self) -> dict[str, object]:
        checks = {finding.name: {"ok": finding.is_ok, "detail": finding.detail} for finding in self.findings}
        return {"ready": self.is_ready, "checks": checks}


Look = Callable[[], Finding | None]
_more: list[Look] = []


def register(look: Look) -> None:
    """Have ``look`` asked with every report; apps call this when they are ready."""
    if look not in _more:
        _more.append(look)


def database() -> Finding:
    """The database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return Finding("database", False, f"No answer ({type(error).__name__}).", "Check DATABASE_URL and the server.")
    return Finding("database", True, f"{connection.vendor} answers.")


def migrations() -> Finding:
    """No migration waits."""
    try:
        executor = MigrationExecutor(connection)
        waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError as error:
        return Finding("migrations", False, f"Cannot be read ({type(error).__name__}).", "See: database.")
    if waiting:
        return Finding("migrations", False, f"{waiting} migrations wait.", "Run: manage.py migrate")
    return Finding("migrations", True, "All applied.")


def cache_store() -> Finding:
    """The cache, where sign-in's rate limits live, takes and gives."""
    token = str(time.monotonic_ns())
    try:
        cache.set("keycast:health", token, 30)
        is_ok = cache.get("keycast:health") == token
    except (DatabaseError, OSError) as error:
        return Finding("cache", False, f"No answer ({type(error).__name__}).", CACHE_FIX)
    return Finding("cache", is_ok, "Takes and gives." if is_ok else "Forgets what it was given.", CACHE_FIX)


CACHE_FIX = "Run: manage.py migrate (or check REDIS_URL)."


def worker_seats() -> Finding:
    """At least one bunker worker is alive."""
    try:
        seats = list(WorkerSeat.objects.all())
    except DatabaseError as error:
        return Finding("workers", False, f"Cannot be read ({type(error).__name__}).", "See: database.")
    now = time.time_ns() // 1_000_000
    alive = [seat for seat in seats if now - seat.seen_at <= SEAT_FRESH_MS]
    start = "the server (make run)" if settings.EMBEDDED else "manage.py bunker"
    return Finding("workers", bool(alive), f"{len(alive)} alive of {len(seats)} known.", f"Start {start}.", tells=True)


LOOKS: tuple[Look, ...] = (database, migrations, cache_store, worker_seats)


def registered() -> tuple[Look, ...]:
    """What other parts look at."""
    return tuple(_more)


def report() -> Report:
    """Look at everything: first what serving needs, then what other parts have registered."""
    found = (look() if look in LOOKS else safely(look) for look in (*LOOKS, *registered()))
    return Report(tuple(finding for finding in found if finding is not None))


def safely(look: Look) -> Finding | None:
    """What ``look`` finds; a look that the database stops becomes a finding itself."""
    try:
        return look()
    except DatabaseError as error:
        name = look.__name__.replace("_", " ")
        detail = f"Cannot be looked at ({type(error).__name__})."
        return Finding(name, False, detail, "See: database, migrations.", Severity.WARNING)
