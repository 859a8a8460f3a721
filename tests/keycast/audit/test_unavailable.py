"""threats.md A1: where the log cannot be written, nothing is done, health says so, and all is well again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from keycast.audit import checkpoints, jobs, signing, verification_runs
from keycast.audit import health as audit_log
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import AuditUnavailable
from keycast.audit.models import AuditCheckpoint, AuditRow, AuditVerification
from keycast.audit.services import record, verify
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.keycast.audit.conftest import write
from tests.keycast.audit.test_grants import grants
from tests.paths import ROOT

ENTRY = AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test"))

FULL_DISK = """
    import resource, signal
    import django; django.setup()
    from django.core.management import call_command
    from django.db import DatabaseError, connection, transaction
    from keycast.audit.entries import Actor, AuditEntry
    from keycast.audit.errors import AuditUnavailable
    from keycast.audit.models import AuditRow
    from keycast.audit.services import record, verify
    from keycast.audit.tags import AuditOutcome, AuditTag

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    call_command("migrate", "audit", verbosity=0)
    connection.cursor().execute("CREATE TABLE deed (id INTEGER)")

    def do():
        with transaction.atomic():
            connection.cursor().execute("INSERT INTO deed VALUES (1)")
            data = {"pad": "x" * 3000}
            record(AuditEntry("platform", AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test"), data=data))

    do()
    size = max(path.stat().st_size for path in __import__("pathlib").Path(DIRECTORY).iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
    refused = 0
    for _ in range(30):
        try:
            do()
        except (AuditUnavailable, DatabaseError):
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deeds = connection.cursor().execute("SELECT COUNT(*) FROM deed").fetchone()[0]
    rows = AuditRow.objects.count()
    do()
    print(refused > 0, deeds == rows, verify("platform").is_intact, AuditRow.objects.count() == rows + 1)
"""


def test_on_a_full_disk_nothing_is_done_unrecorded_and_room_is_all_it_takes(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk; SQLite, in a process of its own."""
    code = f"DIRECTORY = {str(tmp_path)!r}\n" + textwrap.dedent(FULL_DISK)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "KEYCAST_DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'full.sqlite3'}",
    }
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert found.stdout.split() == ["True"] * 4, found.stderr


@pytest.fixture
def _readers_role(db: None) -> Iterator[None]:
    """A role that may read the log, and not add to it."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite knows no roles.")
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE keycast_reader")
        cursor.execute(grants("keycast_reader"))
        cursor.execute("REVOKE INSERT ON audit_auditrow FROM keycast_reader")
        cursor.execute("GRANT keycast_reader TO current_user")
        cursor.execute("SET LOCAL ROLE keycast_reader")
        yield
        cursor.execute("RESET ROLE")


@pytest.mark.usefixtures("_readers_role")
def test_a_role_that_may_not_add_rows_gets_nothing_done_and_health_is_red() -> None:
    with pytest.raises(AuditUnavailable), transaction.atomic():
        record(ENTRY)
    finding = audit_log.takes_rows()
    assert (finding.is_ok, "may not add rows" in finding.detail) == (False, True)
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert audit_log.takes_rows().is_ok


@pytest.mark.django_db
def test_health_reports_a_nearly_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("Another database's disk is elsewhere.")
    assert audit_log.takes_rows().is_ok
    monkeypatch.setattr(audit_log, "LEAST_ROOM", 2**70)
    assert "full" in audit_log.takes_rows().detail


@pytest.mark.django_db
def test_a_late_checkpoint_is_told_and_stops_nothing(
    signer: signing.StatementSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(3)
    found = audit_log.checkpoints_are_made()
    assert found is not None
    assert found.is_ok
    now = time.time()
    monkeypatch.setattr(audit_log.time, "time", lambda: now + 4000)
    found = audit_log.checkpoints_are_made()
    assert found is not None
    assert not found.is_ok
    write(1)
    monkeypatch.setattr(audit_log.time, "time", lambda: now)
    checkpoints.make_all("platform", signer)
    assert verify("platform").is_intact


@pytest.mark.django_db
def test_a_file_that_takes_nothing_is_told(
    signer: signing.StatementSigner, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_CHECKPOINT_FILE = "/dev/full"
    write(3)
    jobs.sign_checkpoints()
    assert audit_log.checkpoints_are_outside() is None
    monkeypatch.setattr(audit_log, "LATE_SECONDS", 0)
    found = audit_log.checkpoints_are_outside()
    assert found is not None
    assert not found.is_ok
    assert AuditRow.objects.count() == 3
    assert AuditCheckpoint.objects.filter(is_published=True).count() == 0


@pytest.mark.django_db
def test_a_broken_chain_stays_told_until_it_is_verified_again() -> None:
    write(1)
    run = verification_runs.start(actor=Actor.system("test"))
    verification_runs.carry_on(run.id)
    assert audit_log.is_verified() is None
    fault = {"chain": "platform", "sequence": 1, "problem": "edited", "detail": "x"}
    AuditVerification.objects.update(state="broken", report={"faults": [fault]})
    found = audit_log.is_verified()
    assert found is not None
    assert "platform row 1" in found.detail
