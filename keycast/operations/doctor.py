"""What ``manage.py doctor`` looks at, beyond health.py: set-up, custody, audit log, jobs, relays, the machine."""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.utils import timezone

from bunker.models import ShardLease
from keycast.audit import triggers
from keycast.audit.models import AuditChain
from keycast.audit.verification import verify
from keycast.base import versions
from keycast.operations import health, jobs, startup
from keycast.operations.health import HealthCheck, HealthFinding
from keys import SHARDS
from keys.lifecycle.verification import self_test, signer_report
from keys.selectors import hsm_reports

LEAST_DISK = 500 * 1024 * 1024
"""Bytes."""

LARGEST_SKEW = 2.0
"""Seconds between this machine's clock and the database's."""

LATEST_VERIFICATION = 3 * 24 * 3600.0
ROWS_VERIFIED_AT_ONCE = 200_000


def settings_are_safe() -> HealthFinding:
    """Nothing that would refuse to start in production."""
    if not settings.IS_PRODUCTION:
        return HealthFinding("settings", True, f"Environment is {settings.ENVIRONMENT}: not checked as production.")
    found = startup.reasons()
    return HealthFinding("settings", not found, " ".join(found) or "Nothing fatal.", "Run: manage.py check --deploy")


def libraries() -> HealthFinding:
    found = versions.problems()
    fix = "pip install --require-hashes -r requirements/production.txt"
    return HealthFinding("libraries", not found, " ".join(found) or "All within their bounds.", fix)


def database_mode() -> HealthFinding:
    """SQLite: WAL and synchronous FULL as they are in force. PostgreSQL: fsync and commit settings."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
            level = cursor.execute("PRAGMA synchronous").fetchone()[0]
            is_ok, detail = (journal, level) == ("wal", 2), f"journal_mode {journal}, synchronous {level}."
            return HealthFinding(
                "durability", is_ok, detail, "Leave OPTIONS of DATABASES as keycast.settings has them."
            )
        values = []
        for name in ("synchronous_commit", "fsync", "full_page_writes"):
            cursor.execute(f"SHOW {name}")
            values.append(f"{name} {cursor.fetchone()[0]}")
    is_ok = not any(value.endswith(" off") for value in values)
    return HealthFinding(
        "durability", is_ok, ", ".join(values) + ".", "An audit row must survive a crash: switch these on."
    )


def signer() -> HealthFinding:
    """Whoever has the key-encryption keys can seal and open, and serves what is configured here."""
    report = signer_report()
    return HealthFinding(report.name, report.is_ok, report.detail, report.fix)


def keys_open() -> HealthFinding:
    """The key-encryption keys open a sample of what is stored, to the public keys that are stored."""
    problems = self_test(100)
    causes = ", ".join(sorted({problem.cause for problem in problems}))
    if problems:
        fix = "Is this the key-encryption key that belongs to this database? See docs/operations.md, Restore."
        return HealthFinding("keys", False, f"{len(problems)} of the newest keys do not open ({causes}).", fix)
    return HealthFinding("keys", True, "The newest keys open to their public keys.")


def audit_log() -> HealthFinding:
    """The chains hold together: checked now while the log is short, else by the nightly job."""
    if unprotected := triggers.missing(connection):
        names = ", ".join(sorted(unprotected))
        return HealthFinding("audit log", False, f"Can be changed: {names} missing.", "Ask who removed them.")
    rows = sum(AuditChain.objects.values_list("sequence", flat=True))
    fix = "Run: manage.py verify_audit, and keep the database as it is for whoever investigates."
    if rows <= ROWS_VERIFIED_AT_ONCE:
        report = verify()
        detail = f"{report.rows} rows in {report.chains} chains, {len(report.faults)} broken."
        return HealthFinding("audit log", report.is_intact, detail, fix)
    last = jobs.last_verification()
    if last is None or time.time() - float(str(last["at"])) > LATEST_VERIFICATION:
        return HealthFinding("audit log", False, f"{rows} rows, not verified for days.", "Run: manage.py verify_audit")
    return HealthFinding("audit log", bool(last["intact"]), f"{rows} rows, verified by the nightly job.", fix)


def leases() -> HealthFinding:
    """Every shard of signers has a worker."""
    now = time.time_ns() // 1_000_000
    held = ShardLease.objects.filter(expires_at__gte=now).exclude(owner="").count()
    detail = f"{held} of {SHARDS} shards are served."
    return HealthFinding(
        "leases", held == SHARDS, detail, "Start a worker; after a crash, wait five seconds for its leases."
    )


def relays() -> HealthFinding:
    """The public relays that this installation offers can be reached by TCP."""
    away = [url for url in settings.OUTBOUND_RELAYS if not is_reachable(url)]
    if away:
        return HealthFinding(
            "relays", False, f"Not reachable: {', '.join(away)}.", "Check KEYCAST_RELAYS and the firewall."
        )
    return HealthFinding("relays", True, f"{len(settings.OUTBOUND_RELAYS)} configured, beside the built-in one.")


def is_reachable(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        with closing(socket.create_connection((parts.hostname or "", port), timeout=5)):
            return True
    except OSError:
        return False


def clock() -> HealthFinding:
    """This machine and the database agree on the time: requests older than 300 s are dropped."""
    if connection.vendor == "sqlite":
        return HealthFinding("clock", True, f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC, by this machine.")
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        skew = abs(float(cursor.fetchone()[0]) - (before + time.time()) / 2)
    return HealthFinding(
        "clock", skew <= LARGEST_SKEW, f"{skew:.1f} s from the database's.", "Run NTP on both machines."
    )


def disk_space() -> HealthFinding:
    free = shutil.disk_usage(settings.DATA_DIR if settings.DATA_DIR.exists() else settings.BASE_DIR).free
    detail = f"{free // (1024 * 1024)} MiB free at {settings.DATA_DIR}."
    return HealthFinding("disk", free >= LEAST_DISK, detail, "Make room: a full disk stops all signing.")


HEALTH_CHECKS: tuple[HealthCheck, ...] = (
    settings_are_safe,
    libraries,
    *health.HEALTH_CHECKS,
    database_mode,
    signer,
    keys_open,
    audit_log,
    leases,
    relays,
    clock,
    disk_space,
)


def examine() -> list[HealthFinding]:
    """Look at everything, in order; a look that the database stops becomes a finding itself."""
    found = (health.run_safely(look) for look in (*HEALTH_CHECKS, *health.registered()))
    return [finding for finding in found if finding is not None] + hsm()


def hsm() -> list[HealthFinding]:
    """What the HSM modes need, where they are set up."""
    return [HealthFinding(report.name, report.is_ok, report.detail, report.fix) for report in hsm_reports()]
