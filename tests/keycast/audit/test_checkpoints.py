"""Checkpoints are signed, carried out of the database, and show what the chain itself cannot (threats A2)."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from keycast.audit import checkpoints, jobs, published_statements, publishing, signing
from keycast.audit.errors import ChainBroken
from keycast.audit.models import AuditCheckpoint, AuditRow
from keycast.audit.services import verify
from keycast.audit.statements import Keyring, is_signed
from tests.keycast.audit.conftest import KEY, OTHER_KEY, sizes, tamper, write

pytestmark = pytest.mark.django_db


def command(name: str, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command(name, *arguments, stdout=out)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue()
    return 0, out.getvalue()


def faults(*arguments: str) -> list[str]:
    said = json.loads(command("verify_audit", "--json", *arguments)[1])
    return [fault["problem"] for fault in said["faults"]]


def blob(hex_: str) -> str:
    return f"decode('{hex_}', 'hex')" if connection.vendor == "postgresql" else f"X'{hex_}'"


def cut_tail() -> None:
    """Remove rows 8 to 12 and rewind the head, and with them the checkpoints that speak of them."""
    head = bytes(AuditRow.objects.get(sequence=7).hash).hex()
    tamper(
        "DELETE FROM audit_auditrow WHERE sequence > 7",
        f"UPDATE audit_auditchain SET sequence = 7, head = {blob(head)}",
    )


def cut_tail_and_checkpoints() -> None:
    cut_tail()
    tamper("DELETE FROM audit_auditcheckpoint WHERE size > 7")


def replace_chain() -> None:
    """Another history, right in itself, without any checkpoint."""
    tamper("DELETE FROM audit_auditrow", "DELETE FROM audit_auditchain", "DELETE FROM audit_auditcheckpoint")
    write(12, connection_id="f" * 32)


def replace_chain_and_sign_it_with_another_key() -> None:
    replace_chain()
    checkpoints.make_all("platform", signing.LocalStatementSigner.from_text(OTHER_KEY))


def cut_and_write_on() -> None:
    cut_tail_and_checkpoints()
    write(9, connection_id="f" * 32)


def test_nothing_is_signed_without_a_key(settings: Settings) -> None:
    settings.AUDIT_CHECKPOINT_KEY = ""
    signing.current.cache_clear()
    write(3)
    assert checkpoints.make_due() == (0, [])
    with pytest.raises(CommandError) as refusal:
        command("audit_checkpoint")
    assert refusal.value.returncode == 2


@pytest.mark.parametrize("text", ["x", "ed25519:", "ed25519:AAAA", KEY.removeprefix("ed25519:"), "ed25519:" + "A" * 88])
def test_a_key_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured) as refusal:
        signing.LocalStatementSigner.from_text(text)
    assert text not in str(refusal.value)


@pytest.mark.parametrize("change", ["data = '{}'", "hash = previous_hash", "previous_hash = hash"])
def test_a_changed_row_is_never_signed(signer: signing.StatementSigner, change: str) -> None:
    write(7)
    tamper(f"UPDATE audit_auditrow SET {change} WHERE sequence = 4")
    with pytest.raises(ChainBroken) as refusal:
        checkpoints.make("platform", signer)
    assert refusal.value.sequence == 4
    assert sizes() == []


def test_a_missing_row_is_never_signed_over(signer: signing.StatementSigner) -> None:
    write(7)
    tamper("DELETE FROM audit_auditrow WHERE sequence = 5")
    with pytest.raises(ChainBroken):
        checkpoints.make("platform", signer)


def test_a_broken_chain_keeps_no_other_from_its_checkpoint(signer: signing.StatementSigner) -> None:
    write(2, "a" * 32)
    write(2)
    tamper(f"UPDATE audit_auditrow SET data = '{{}}' WHERE chain = '{'a' * 32}'")
    made, broken = checkpoints.make_due()
    assert made == 1
    assert [fault.chain for fault in broken] == ["a" * 32]
    assert sizes() == [2]


def test_checkpoints_follow_each_other_and_grow_with_the_chain(signer: signing.StatementSigner) -> None:
    write(12)
    assert checkpoints.make_due() == (3, [])
    assert sizes() == [5, 10, 12]
    first, second, third = AuditCheckpoint.objects.order_by("number")
    assert second.previous == first.statement.digest()
    assert third.head == bytes(AuditRow.objects.get(sequence=12).hash).hex()
    assert all(is_signed(each.statement.message(), bytes(each.signature), signer.public_key) for each in (first, third))
    assert verify("platform").checkpoints == 3


def test_a_few_new_rows_wait_for_the_interval_many_do_not(signer: signing.StatementSigner, settings: Settings) -> None:
    settings.AUDIT_CHECKPOINT_SECONDS = 600
    write(1)
    checkpoints.make_due()
    write(4)
    assert checkpoints.make_due() == (0, [])
    settings.AUDIT_CHECKPOINT_SECONDS = 0
    assert checkpoints.make_due() == (1, [])
    settings.AUDIT_CHECKPOINT_SECONDS = 600
    write(5)
    assert checkpoints.make_due() == (1, [])
    assert sizes() == [1, 5, 10]


def test_two_processes_making_the_same_checkpoint_store_one(
    signer: signing.StatementSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(3)
    store = checkpoints._store

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(checkpoints, "_store", store)
        checkpoints.make("platform", signer)
        return store(*arguments)

    monkeypatch.setattr(checkpoints, "_store", late)
    assert checkpoints.make("platform", signer) is None
    assert sizes() == [3]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_auditcheckpoint",
        "UPDATE audit_auditcheckpoint SET size = size + 1",
        "UPDATE audit_auditcheckpoint SET signature = root",
        "DELETE FROM audit_auditcut",
        "UPDATE audit_auditcut SET through = through + 100",
    ],
)
def test_the_database_refuses_to_change_what_was_signed(
    statement: str, signer: signing.StatementSigner, settings: Settings
) -> None:
    from tests.keycast.audit.test_cutting import cut_now

    write(12)
    checkpoints.make_due()
    cut_now(settings)
    if connection.vendor == "postgresql":
        statement = statement.replace("signature = root", "signature = decode(root, 'hex')")
    with pytest.raises(DatabaseError, match="as they were signed"), transaction.atomic():
        connection.cursor().execute(statement)


# --- outside of the database ---


def test_the_file_gets_each_checkpoint_once_and_a_proof_that_it_only_grew(
    signer: signing.StatementSigner, outside: Path
) -> None:
    write(12)
    jobs.sign_checkpoints()
    jobs.sign_checkpoints()
    lines = list(publishing.read_lines(outside))
    assert [line["checkpoint"]["size"] for line in lines] == [5, 10, 12]
    found = published_statements.read(lines, Keyring([signer.public_key]))
    assert (found.count, found.doubts) == (3, [])
    assert command("verify_audit", "--checkpoints", str(outside))[0] == 0


def test_a_file_that_takes_nothing_loses_nothing(
    signer: signing.StatementSigner, settings: Settings, outside: Path
) -> None:
    write(12)
    settings.AUDIT_CHECKPOINT_FILE = "/dev/full"
    jobs.sign_checkpoints()
    assert publishing.unpublished_since() is not None
    assert AuditCheckpoint.objects.filter(is_published=False).count() == 3
    settings.AUDIT_CHECKPOINT_FILE = str(outside)
    jobs.sign_checkpoints()
    assert publishing.unpublished_since() is None
    assert len(list(publishing.read_lines(outside))) == 3


def test_a_line_that_a_crash_cut_short_spoils_no_other(signer: signing.StatementSigner, outside: Path) -> None:
    write(5)
    outside.write_text('{"checkpoint": {"cha')
    jobs.sign_checkpoints()
    assert [line["checkpoint"]["size"] for line in publishing.read_lines(outside)] == [5]


def test_checkpoints_are_also_written_to_the_process_log(
    signer: signing.StatementSigner, caplog: pytest.LogCaptureFixture
) -> None:
    write(5)
    with caplog.at_level("INFO"):
        jobs.sign_checkpoints()
    root = AuditCheckpoint.objects.get().root
    assert f"{root[:32]} {root[32:]}" in caplog.text
    assert "[redacted]" not in caplog.text


FORGERIES: dict[str, tuple[Callable[[], None], list[str], list[str]]] = {
    # what is done; what the database alone shows; what the file shows
    "tail cut": (cut_tail, ["cut"], ["cut"]),
    "tail cut, its checkpoints too": (cut_tail_and_checkpoints, [], ["cut"]),
    "tail cut, and written on": (cut_and_write_on, [], ["rewritten"]),
    "chain replaced": (replace_chain, [], ["rewritten"]),
    "chain replaced and signed": (
        replace_chain_and_sign_it_with_another_key,
        ["checkpoint-forged"],
        ["checkpoint-forged"],
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_verification_with_the_checkpoint_file_finds_forgeries_that_are_internally_consistent(
    forgery: str, signer: signing.StatementSigner, outside: Path
) -> None:
    act, inside, with_file = FORGERIES[forgery]
    write(12)
    jobs.sign_checkpoints()
    assert faults("--checkpoints", str(outside)) == []
    act()
    assert faults() == inside
    assert faults("--checkpoints", str(outside)) == with_file


def test_an_older_database_is_named(signer: signing.StatementSigner, outside: Path) -> None:
    """The restore of a dump: everything is as it once was, checkpoints included."""
    write(7)
    jobs.sign_checkpoints()
    cut_later = AuditCheckpoint.objects.count()
    write(5)
    checkpoints.make_all("platform", signer)
    jobs.sign_checkpoints()
    assert AuditCheckpoint.objects.count() > cut_later
    cut_tail_and_checkpoints()
    said = json.loads(command("verify_audit", "--json", "--checkpoints", str(outside))[1])
    assert "older database" in said["faults"][0]["detail"]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_auditcheckpoint SET at = at + 1 WHERE number = 2", "checkpoint-forged"),
        ("UPDATE audit_auditcheckpoint SET key = '0000000000000000' WHERE number = 2", "checkpoint-forged"),
        ("DELETE FROM audit_auditcheckpoint WHERE number = 2", "checkpoint-missing"),
    ],
)
def test_a_checkpoint_that_was_forged_or_removed_is_named(
    statement: str, problem: str, signer: signing.StatementSigner, outside: Path
) -> None:
    write(12)
    jobs.sign_checkpoints()
    tamper(statement)
    assert faults() == [problem]


def test_a_file_signed_by_a_strangers_key_is_believed_in_nothing(
    signer: signing.StatementSigner, outside: Path
) -> None:
    write(5)
    jobs.sign_checkpoints()
    found = published_statements.read(
        publishing.read_lines(outside), Keyring([signing.LocalStatementSigner.from_text(OTHER_KEY).public_key])
    )
    assert found.chains == {}
    assert "not trusted" in found.doubts[0].detail


@pytest.mark.parametrize("field", ["chain", "number", "size", "root", "head", "previous", "at", "key", "signature"])
def test_every_field_of_a_line_is_signed(field: str, signer: signing.StatementSigner, outside: Path) -> None:
    write(5)
    jobs.sign_checkpoints()
    (line,) = publishing.read_lines(outside)
    old = line["checkpoint"][field]
    line["checkpoint"][field] = old + 1 if isinstance(old, int) else ("0" if old[0] != "0" else "1") + old[1:]
    found = published_statements.read([line], Keyring([signer.public_key]))
    assert found.chains == {}
    assert len(found.doubts) == 1


def test_a_line_left_out_of_the_file_is_missed(signer: signing.StatementSigner, outside: Path) -> None:
    write(12)
    jobs.sign_checkpoints()
    first, _, third = publishing.read_lines(outside)
    found = published_statements.read([first, third], Keyring([signer.public_key]))
    assert "does not follow" in found.doubts[0].detail


@pytest.mark.parametrize("text", ["", "[]\n", '"x"\n', '{"checkpoint": 3}\n', '{"checkpoint": {"chain": "x"}}\n'])
def test_a_file_of_anything_else_is_no_proof(text: str, signer: signing.StatementSigner, outside: Path) -> None:
    outside.write_text(text)
    found = published_statements.read(publishing.read_lines(outside), Keyring([signer.public_key]))
    assert found.count == 0


def test_a_public_key_can_be_given_where_the_server_has_none(
    signer: signing.StatementSigner, outside: Path, settings: Settings
) -> None:
    write(5)
    jobs.sign_checkpoints()
    public_key = command("audit_checkpoint", "--public-key")[1].strip()
    settings.AUDIT_CHECKPOINT_KEY = ""
    signing.current.cache_clear()
    with pytest.raises(CommandError):
        command("verify_audit", "--checkpoints", str(outside))
    assert command("verify_audit", "--checkpoints", str(outside), "--key", public_key)[0] == 0


def test_a_fresh_key_is_kept_from_others_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    text = command("generate_checkpoint_key", "--path", str(path))[1]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert path.read_text().strip().removeprefix("ed25519:") not in text
    signing.LocalStatementSigner.from_text(path.read_text())
    with pytest.raises(CommandError):
        command("generate_checkpoint_key", "--path", str(path))


def test_a_row_costs_no_statement_more(signer: signing.StatementSigner) -> None:
    """Checkpoints are a job's business: the hot path has the statements that it had."""
    from django.test.utils import CaptureQueriesContext

    write(1)
    with CaptureQueriesContext(connection) as queries:
        write(1)
    assert len(queries) <= 3
