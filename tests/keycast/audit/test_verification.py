"""Whatever is done to the log behind its back, verification names the first bad row (threats A2)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from accounts.models import Tenant
from keycast.audit import triggers, verification, writer
from keycast.audit.chain import genesis, row_hash
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.reading import BODY
from keycast.audit.services import append, chain_of, verify
from keycast.audit.tags import AuditOutcome, AuditTag

pytestmark = pytest.mark.django_db
ROWS = "audit_auditrow WHERE chain = 'platform' AND sequence"


@pytest.fixture(autouse=True)
def _small_pages() -> Iterator[None]:
    with mock.patch.object(verification, "CHUNK", 3):
        yield


def write(count: int, chain: str = "platform") -> None:
    entries = [
        AuditEntry(chain, AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system("test"), data={"n": number})
        for number in range(count)
    ]
    with connection.cursor() as cursor:
        append(cursor, entries)


def tamper(*statements: str) -> None:
    """Change rows as somebody would who may change the schema too."""
    with connection.cursor() as cursor:
        triggers.remove(cursor, connection.vendor)
        for statement in statements:
            cursor.execute(statement)


def rehash(sequence: int) -> None:
    """Give a changed row a hash that fits its content again."""
    row = AuditRow.objects.get(chain="platform", sequence=sequence)
    columns = [getattr(row, name) for name in BODY]
    AuditRow.objects.filter(id=row.id).update(hash=row_hash(bytes(row.previous_hash), tuple(columns)))  # type: ignore[arg-type]


def swap() -> None:
    tamper(
        "UPDATE audit_auditrow SET sequence = -4 WHERE chain = 'platform' AND sequence = 4",
        "UPDATE audit_auditrow SET sequence = 4 WHERE chain = 'platform' AND sequence = 5",
        "UPDATE audit_auditrow SET sequence = 5 WHERE chain = 'platform' AND sequence = -4",
    )


def edit_and_rehash() -> None:
    tamper("UPDATE audit_auditrow SET actor_label = 'x' WHERE chain = 'platform' AND sequence = 4")
    rehash(4)


def insert_behind(sequence: int) -> None:
    tamper()
    row = AuditRow.objects.get(chain="platform", sequence=7)
    row.pk, row.sequence, row.previous_hash = None, sequence, bytes(row.hash)
    row.save()
    rehash(sequence)


def rewrite_with_another_genesis() -> None:
    tamper(f"DELETE FROM {ROWS} > 0", "DELETE FROM audit_auditchain")
    with mock.patch.object(writer, "genesis", return_value=genesis("other")):
        write(7)


FORGERIES: dict[str, tuple[Callable[[], None], str, int | None]] = {
    "edited": (lambda: tamper("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 4"), "edited", 4),
    "tag edited": (lambda: tamper("UPDATE audit_auditrow SET tag = 'x' WHERE sequence = 1"), "edited", 1),
    "time edited": (lambda: tamper("UPDATE audit_auditrow SET at = at - 1 WHERE sequence = 7"), "edited", 7),
    "edited and hashed anew": (edit_and_rehash, "replaced", 5),
    "deleted": (lambda: tamper(f"DELETE FROM {ROWS} = 4"), "deleted", 4),
    "first deleted": (lambda: tamper(f"DELETE FROM {ROWS} = 1"), "deleted", 1),
    "reordered": (swap, "moved", 4),
    "inserted behind the head": (lambda: insert_behind(8), "inserted", 8),
    "inserted before the first": (lambda: insert_behind(0), "inserted", 0),
    "tail cut": (lambda: tamper(f"DELETE FROM {ROWS} > 5"), "truncated", 6),
    "all cut": (lambda: tamper(f"DELETE FROM {ROWS} > 0"), "truncated", 1),
    "head gone": (lambda: tamper("DELETE FROM audit_auditchain"), "head-missing", None),
    "head rewound": (lambda: tamper("UPDATE audit_auditchain SET sequence = 5"), "head-differs", 5),
    "chain written anew": (rewrite_with_another_genesis, "replaced", 1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_first_bad_row_is_named(forgery: str) -> None:
    write(7)
    act, problem, sequence = FORGERIES[forgery]
    act()
    (fault,) = verify("platform").faults
    assert (fault.sequence, fault.problem) == (sequence, problem)


def test_a_chain_that_vanished_whole_is_missed() -> None:
    write(7, "e" * 32)
    tamper("DELETE FROM audit_auditrow", "DELETE FROM audit_auditchain")
    (fault,) = verify(expected=["e" * 32]).faults
    assert fault.problem == "chain-missing"


def test_a_bad_chain_does_not_hide_another() -> None:
    write(4)
    write(4, "d" * 32)
    tamper("UPDATE audit_auditrow SET actor_id = 'x' WHERE sequence = 2")
    assert [fault.chain for fault in verify().faults] == ["d" * 32, "platform"]


def test_whole_chains_are_intact_whatever_their_length() -> None:
    for length in (1, 2, 3, 4, 6, 7):
        write(length, f"{length:032x}")
    report = verify()
    assert report.is_intact
    assert (report.chains, report.rows) == (6, 23)


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=out)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_refuses_a_tenant_it_does_not_know_with_a_code_of_its_own() -> None:
    with pytest.raises(CommandError) as refusal:
        run("--tenant", "nobody")
    assert refusal.value.returncode == 2


def test_the_command_names_the_bad_row_and_fails() -> None:
    tenant = Tenant.objects.create(slug="news", name="News")
    write(3)
    write(3, chain_of(tenant.id))
    tamper(f"UPDATE audit_auditrow SET outcome = 'denied' WHERE chain = '{tenant.id.hex}' AND sequence = 2")
    code, text = run()
    assert code == 1
    assert f"BROKEN {tenant.id.hex} row 2: edited" in text
    code, text = run("--tenant", "news", "--json")
    assert code == 1
    assert json.loads(text)["faults"][0]["sequence"] == 2
    assert run("--chain", "platform")[0] == 0


def test_the_command_misses_the_chain_of_a_tenant() -> None:
    write(1)
    Tenant.objects.create(slug="news", name="News")
    assert run()[0] == 1


def test_the_command_is_content_with_a_whole_log() -> None:
    write(5)
    assert run() == (0, "1 chains, 5 rows: intact.\n")
    report = json.loads(run("--json")[1])
    head = report.pop("heads")["platform"]
    assert (head["sequence"], len(head["hash"])) == (5, 64)
    assert report == {
        "intact": True,
        "chains": 1,
        "rows": 5,
        "checkpoints": 0,
        "faults": [],
        "missing_triggers": [],
    }


def test_the_command_warns_when_the_database_lets_history_be_changed() -> None:
    write(1)
    tamper()
    errors = io.StringIO()
    call_command("verify_audit", "--json", stdout=io.StringIO(), stderr=errors)
    assert "does not protect" in errors.getvalue()
    assert len(triggers.missing(connection)) == len(triggers.wanted(connection.vendor))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"heads": 1}', '{"heads": {"platform": {}}}', "no json"])
def test_the_command_refuses_an_earlier_report_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text(text)
    for path in (tmp_path / "kept.json", tmp_path / "missing.json"):
        with pytest.raises(CommandError) as refusal:
            run("--against", str(path))
        assert refusal.value.returncode == 2


def cut_and_rewind() -> None:
    head = bytes(AuditRow.objects.get(sequence=5).hash).hex()
    blob = f"decode('{head}', 'hex')" if connection.vendor == "postgresql" else f"X'{head}'"
    tamper(f"DELETE FROM {ROWS} > 5", f"UPDATE audit_auditchain SET sequence = 5, head = {blob}")


def vanish() -> None:
    tamper("DELETE FROM audit_auditrow", "DELETE FROM audit_auditchain")


def cut_and_write_on() -> None:
    cut_and_rewind()
    write(9)


@pytest.mark.parametrize(
    ("forgery", "problem"), [(cut_and_rewind, "cut"), (cut_and_write_on, "rewritten"), (vanish, "chain-missing")]
)
def test_verify_audit_against_an_earlier_report_finds_a_forged_chain(
    forgery: Callable[[], None], problem: str, tmp_path: Path
) -> None:
    write(7)
    (tmp_path / "kept.json").write_text(run("--json")[1])
    assert run("--against", str(tmp_path / "kept.json"))[0] == 0
    forgery()
    if forgery is not vanish:
        assert verify().is_intact
    code, text = run("--json", "--against", str(tmp_path / "kept.json"))
    assert code == 1
    assert json.loads(text)["faults"][0]["problem"] == problem
