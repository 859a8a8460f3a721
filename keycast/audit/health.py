"""What health has to say of the audit log: that it takes rows, is signed, carried outside, and verified."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection
from django.db.models import BigIntegerField, Exists, OuterRef, Subquery
from django.utils import timezone
from django.utils.timesince import timesince

from keycast.audit import checkpoints, journal_writer, signing, verification_runs
from keycast.audit.models import AuditCheckpoint, AuditCut, AuditRow, AuditVerification
from keycast.audit.publishing import unpublished_since
from keycast.base.findings import HealthFinding, Severity

PAGE: Final = "admin:audit_verification"
LEAST_ROOM: Final = 16 * 1024 * 1024
"""Bytes that must be free where SQLite writes."""
LATE_SECONDS: Final = 300
VERIFIED_EVERY_DAYS: Final = 3
_DAY: Final = 24 * 3600 * 1_000_000


def takes_rows() -> HealthFinding:
    """The audit log can be written: what cannot be recorded is not done, so nothing is signed without it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT has_table_privilege('audit_auditrow', 'INSERT') AND "
                "has_table_privilege('audit_auditchain', 'INSERT, UPDATE') AND NOT pg_is_in_recovery()"
            )
            is_ok = bool(cursor.fetchone()[0])
        detail = "Takes rows." if is_ok else "This role may not add rows, so nothing is signed."
        return HealthFinding(
            "audit rows", is_ok, detail, "Run: manage.py audit_grants ROLE | psql", link=PAGE, tells=True
        )
    folder = Path(str(connection.settings_dict["NAME"])).parent
    room = os.statvfs(folder) if folder.is_dir() else None
    is_ok = room is None or room.f_bavail * room.f_frsize >= LEAST_ROOM
    detail = "Takes rows." if is_ok else "The disk is full, so nothing is signed."
    return HealthFinding("audit rows", is_ok, detail, f"Make room at {folder}.", link=PAGE, tells=True)


def checkpoints_are_made() -> HealthFinding | None:
    """Chains get their checkpoints in time. Signing goes on without: every row is chained and committed anyway."""
    if not signing.is_configured():
        if not settings.IS_PRODUCTION:
            return None
        detail = "There is no key for checkpoints: a log that is cut off at its end would not show."
        fix = "Run: manage.py generate_checkpoint_key (docs/audit.md)."
        return HealthFinding("audit checkpoints", False, detail, fix, Severity.NOTE, PAGE)
    next_row = AuditRow.objects.filter(chain=OuterRef("name"), sequence=OuterRef("size") + 1).values("at")
    waiting = checkpoints.due().annotate(since=Subquery(next_row[:1], output_field=BigIntegerField()))
    oldest = int((time.time() - 2 * settings.AUDIT_CHECKPOINT_SECONDS - LATE_SECONDS) * 1_000_000)
    late = list(waiting.filter(since__lt=oldest).values_list("name", flat=True)[:3])
    if not late:
        return HealthFinding("audit checkpoints", True, "Made in time.")
    detail = f"Late for {len(late)} chains or more: {', '.join(late)}."
    fix = "Run: manage.py audit_checkpoint, which says why. Signing goes on; what happens meanwhile is signed later."
    return HealthFinding("audit checkpoints", False, detail, fix, Severity.WARNING, PAGE, tells=True)


def checkpoints_are_outside() -> HealthFinding | None:
    """Checkpoints stand outside of the database soon."""
    since = unpublished_since()
    if since is None or time.time() - since / 1_000_000 < LATE_SECONDS:
        return None
    detail = (
        f"Checkpoints wait for {(time.time() - since / 1_000_000) / 60:.0f} minutes to be written outside the database."
    )
    fix = "See that KEYCAST_AUDIT_CHECKPOINT_FILE can be written, then run: manage.py audit_checkpoint"
    return HealthFinding("audit checkpoints outside", False, detail, fix, Severity.WARNING, PAGE, tells=True)


def is_verified() -> HealthFinding | None:
    """The last verification found nothing, and is not long ago."""
    last = verification_runs.last_finished()
    if last is not None and last.state == AuditVerification.State.BROKEN:
        faults = verification_runs.faults_of(last)
        where = ", ".join(f"{fault.chain} row {fault.sequence}" for fault in faults[:3])
        fix = "Keep the database as it is for whoever investigates, and run: manage.py verify_audit"
        return HealthFinding(
            "audit verification", False, f"Not intact: {where}.", fix, Severity.WARNING, PAGE, tells=True
        )
    if last is None or last.finished_at is None:
        return None
    if (timezone.now() - last.finished_at).days < VERIFIED_EVERY_DAYS:
        return None
    detail = f"Last verified {timesince(last.finished_at)} ago."
    return HealthFinding("audit verification", False, detail, "Do background jobs run?", Severity.WARNING, PAGE)


def retention_is_kept() -> HealthFinding | None:
    """Rows that should be gone for a week are gone."""
    days = settings.AUDIT_RETENTION_DAYS
    if days <= 0:
        return None
    cut = AuditCut.objects.filter(chain=OuterRef("chain"), through__gte=OuterRef("size"))
    before = time.time_ns() // 1000 - (days + 7) * _DAY
    old = AuditCheckpoint.objects.filter(~Exists(cut), at__lt=before).values_list("chain", flat=True)
    overdue = [name for name in list(old.order_by("id")[:20]) if _is_overdue(name, before)]
    if not overdue:
        return None
    detail = f"Rows of {overdue[0]} are older than they should be kept."
    return HealthFinding("audit retention", False, detail, "Run: manage.py cut_audit --all", Severity.NOTE, PAGE)


def _is_overdue(chain: str, before: int) -> bool:
    from keycast.audit.cutting import plan  # noqa: PLC0415 -- seldom needed

    found = plan(chain)
    return found is not None and found.checkpoint.at < before


def restore_journal() -> HealthFinding | None:
    """The database is not older than the restore journal, and the file can be written."""
    if not settings.RESTORE_JOURNAL:
        return None
    if lacking := journal_writer.missing():
        return HealthFinding(
            "restored database",
            False,
            f"Older than the restore journal: it lacks {len(lacking)} rows that were written. Nothing is signed.",
            "A backup was restored: run manage.py after_restore (docs/operations.md, Restore).",
            tells=True,
        )
    path = Path(settings.RESTORE_JOURNAL)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        fix = "Look at its disk and its owner; a job carries what it missed."
        return HealthFinding("restore journal", False, f"{path} cannot be written.", fix, Severity.WARNING, tells=True)
    return HealthFinding("restore journal", True, "Kept outside the database; the database is not older.")


LOOKS: Final = (
    *(takes_rows, checkpoints_are_made, checkpoints_are_outside, is_verified, retention_is_kept),
    restore_journal,
)
