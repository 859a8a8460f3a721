"""Retention: rows go only below a signed cut, and verification goes on behind it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from keycast.audit import checkpoints, cutting, jobs, publishing, signing
from keycast.audit.entries import Actor
from keycast.audit.errors import ChainBroken, NoCheckpointKey, RetentionTooShort
from keycast.audit.models import AuditCut, AuditRow
from keycast.audit.services import verify
from keycast.audit.tags import AuditTag
from tests.keycast.audit.conftest import OTHER_KEY, tamper, write

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
LATER = 40 * 24 * 3600


def later(settings: Settings) -> cutting.CutPlan:
    settings.AUDIT_RETENTION_DAYS = 30
    found = cutting.plan("platform", time.time() + LATER)
    assert found is not None
    return found


def cut_now(settings: Settings) -> AuditCut:
    """Cut everything below the last checkpoint, as if it were 40 days later."""
    return cutting.cut(actor=ACTOR, wanted=later(settings), reason="a test", signer=signing.current())


def numbers() -> list[int]:
    return list(AuditRow.objects.filter(chain="platform").order_by("sequence").values_list("sequence", flat=True))


def test_nothing_is_cut_unless_it_is_asked_for(signer: signing.StatementSigner) -> None:
    write(12)
    jobs.sign_checkpoints()
    assert cutting.plan("platform", time.time() + 1000 * LATER) is None


def test_young_rows_stay(signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    settings.AUDIT_RETENTION_DAYS = 30
    assert cutting.plan("platform") is None


def test_rows_that_no_checkpoint_covers_stay(signer: signing.StatementSigner, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 30
    write(12)
    assert cutting.plan("platform", time.time() + LATER) is None


def test_without_a_key_nothing_is_cut(signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    with pytest.raises(NoCheckpointKey):
        cutting.cut(actor=ACTOR, wanted=later(settings), reason="x", signer=None)
    assert len(numbers()) == 12


def test_a_chain_that_is_broken_is_kept_as_evidence(signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    tamper("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 3")
    with pytest.raises(ChainBroken):
        cut_now(settings)
    assert len(numbers()) == 12


def test_a_cut_that_cannot_be_carried_outside_removes_nothing(
    signer: signing.StatementSigner, settings: Settings, outside: Path
) -> None:
    write(12)
    jobs.sign_checkpoints()
    settings.AUDIT_CHECKPOINT_FILE = "/dev/full"
    with pytest.raises(OSError, match="space"):
        cut_now(settings)
    assert len(numbers()) == 13  # and the row that says that it was cut
    settings.AUDIT_CHECKPOINT_FILE = str(outside)
    assert cutting.finish("platform") == 12


@pytest.mark.parametrize("statement", ["DELETE FROM audit_auditrow", "DELETE FROM audit_auditrow WHERE sequence = 13"])
def test_above_a_cut_no_row_can_be_deleted(statement: str, signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    cut_now(settings)
    write(3)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)


def test_what_a_cut_leaves_is_intact_and_says_who_and_why(
    signer: signing.StatementSigner, settings: Settings, outside: Path
) -> None:
    write(12)
    jobs.sign_checkpoints()
    cut = cut_now(settings)
    assert (cut.first, cut.through, cut.count, cut.actor, cut.reason) == (1, 12, 12, "manage.py test", "a test")
    assert numbers() == [13]
    assert AuditRow.objects.get(sequence=13).tag == AuditTag.AUDIT_CUT
    write(4)
    checkpoints.make_all("platform", signer)
    jobs.sign_checkpoints()
    report = verify("platform")
    assert report.is_intact, report.faults
    assert report.checkpoints == 1
    assert [next(iter(line)) for line in publishing.read_lines(outside)].count("cut") == 1
    out = io.StringIO()
    call_command("verify_audit", "--checkpoints", str(outside), stdout=out)
    assert "intact" in out.getvalue()


def test_a_chain_can_be_cut_twice_and_verifies(signer: signing.StatementSigner, settings: Settings) -> None:
    for _ in range(3):
        write(6)
        checkpoints.make_all("platform", signer)
        cut_now(settings)
    assert list(AuditCut.objects.order_by("number").values_list("first", "through")) == [(1, 6), (7, 13), (14, 20)]
    assert verify("platform").is_intact


def test_a_cut_that_somebody_else_signed_is_named(signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    wanted = later(settings)
    cutting._sign(ACTOR, wanted, "covering up", signing.LocalStatementSigner.from_text(OTHER_KEY))
    AuditRow.objects.filter(sequence__lte=12)._raw_delete("default")
    assert [fault.problem for fault in verify("platform").faults] == ["cut-forged"]


def test_a_cut_that_was_changed_is_named(signer: signing.StatementSigner, settings: Settings) -> None:
    write(10)
    jobs.sign_checkpoints()
    cut_now(settings)
    write(9)
    checkpoints.make_all("platform", signer)
    tamper("UPDATE audit_auditcut SET through = 15, count = 15", "DELETE FROM audit_auditrow WHERE sequence <= 15")
    assert [fault.problem for fault in verify("platform").faults] == ["cut-forged"]


def test_a_kill_between_signing_and_removing_costs_nothing(signer: signing.StatementSigner, settings: Settings) -> None:
    write(12)
    jobs.sign_checkpoints()
    cutting._sign(ACTOR, later(settings), "retention", signer)
    assert [fault.problem for fault in verify("platform").faults] == ["below-the-cut"]
    settings.AUDIT_RETENTION_DAYS = 30
    out = io.StringIO()
    call_command("cut_audit", "--all", "--json", stdout=out)
    assert json.loads(out.getvalue())["left_from_before"] == 12
    assert verify("platform").is_intact


def test_a_dry_run_removes_nothing(
    signer: signing.StatementSigner, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(12)
    jobs.sign_checkpoints()
    settings.AUDIT_RETENTION_DAYS = 30
    now = time.time()
    monkeypatch.setattr(cutting.time, "time", lambda: now + LATER)
    out = io.StringIO()
    call_command("cut_audit", "--all", "--dry-run", stdout=out)
    assert "rows 1 to 12 would be removed" in out.getvalue()
    assert len(numbers()) == 12
    call_command("cut_audit", "--chain", "platform", "--reason", "spring cleaning", stdout=out)
    assert "rows 1 to 12 removed" in out.getvalue()
    assert AuditCut.objects.get().reason == "spring cleaning"


def test_a_tenant_may_keep_rows_longer_never_shorter(settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 0
    for days in (1, 1000):
        with pytest.raises(RetentionTooShort):
            cutting.set_retention_days(actor=ACTOR, chain="a" * 32, days=days)
    settings.AUDIT_RETENTION_DAYS = 30
    with pytest.raises(CommandError):
        call_command("cut_audit", "--chain", "a" * 32, "--set-days", "29")
    call_command("cut_audit", "--chain", "a" * 32, "--set-days", "90", stdout=io.StringIO())
    assert cutting.retention_days("a" * 32) == 90
    assert cutting.retention_days("platform") == 30
    assert AuditRow.objects.get().tag == AuditTag.AUDIT_RETENTION_CHANGED
