"""Is everything in working order? Read by /readyz, the admin's dashboard, the watchdog and ``doctor``.

What serving needs is looked at here; other parts add their own looks (keycast.base.findings).
"""

from __future__ import annotations

import time

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from bunker.models import WorkerSeat
from keycast.base.findings import HealthCheck, HealthFinding, HealthReport, Severity, register, registered, run_safely

__all__ = [
    "HEALTH_CHECKS",
    "WORKER_ALIVE_MS",
    "HealthCheck",
    "HealthFinding",
    "HealthReport",
    "Severity",
    "register",
    "registered",
    "report",
    "run_safely",
]

WORKER_ALIVE_MS = 15_000
"""A worker whose last heartbeat is older than this is not there."""


def database() -> HealthFinding:
    """The database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return HealthFinding(
            "database", False, f"No answer ({type(error).__name__}).", "Check DATABASE_URL and the server."
        )
    return HealthFinding("database", True, f"{connection.vendor} answers.")


def migrations() -> HealthFinding:
    """No migration waits."""
    try:
        executor = MigrationExecutor(connection)
        waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError as error:
        return HealthFinding("migrations", False, f"Cannot be read ({type(error).__name__}).", "See: database.")
    if waiting:
        return HealthFinding("migrations", False, f"{waiting} migrations wait.", "Run: manage.py migrate")
    return HealthFinding("migrations", True, "All applied.")


def cache_store() -> HealthFinding:
    """The cache, where sign-in's rate limits live, takes and gives."""
    token = str(time.monotonic_ns())
    try:
        cache.set("keycast:health", token, 30)
        is_ok = cache.get("keycast:health") == token
    except (DatabaseError, OSError) as error:
        return HealthFinding("cache", False, f"No answer ({type(error).__name__}).", CACHE_FIX)
    return HealthFinding("cache", is_ok, "Takes and gives." if is_ok else "Forgets what it was given.", CACHE_FIX)


CACHE_FIX = "Run: manage.py migrate (or check REDIS_URL)."


def workers_alive() -> HealthFinding:
    """At least one bunker worker is alive."""
    try:
        seats = list(WorkerSeat.objects.all())
    except DatabaseError as error:
        return HealthFinding("workers", False, f"Cannot be read ({type(error).__name__}).", "See: database.")
    now = time.time_ns() // 1_000_000
    alive = [seat for seat in seats if now - seat.seen_at <= WORKER_ALIVE_MS]
    start = "the server (make run)" if settings.EMBEDDED else "manage.py bunker"
    return HealthFinding(
        "workers", bool(alive), f"{len(alive)} alive of {len(seats)} known.", f"Start {start}.", tells=True
    )


HEALTH_CHECKS: tuple[HealthCheck, ...] = (database, migrations, cache_store, workers_alive)


def report() -> HealthReport:
    """Look at everything: first what serving needs, then what other parts have registered."""
    found = (look() if look in HEALTH_CHECKS else run_safely(look) for look in (*HEALTH_CHECKS, *registered()))
    return HealthReport(tuple(finding for finding in found if finding is not None))
