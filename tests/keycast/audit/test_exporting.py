"""Exports prove themselves offline: to our verifier, and to one in another language written from the documentation."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from keycast.audit import checkpoints, exporting, jobs, signing
from keycast.audit.models import AuditRow
from keycast.audit.offline import ExportError, ExportSummary, check
from keycast.audit.selectors import AuditFilters
from keycast.audit.statements import Keyring
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.keycast.audit.conftest import KEY, OTHER_KEY, tamper, write
from tests.keycast.audit.test_cutting import cut_now
from tests.paths import ROOT

pytestmark = pytest.mark.django_db
PUBLIC = base64.b64encode(signing.LocalStatementSigner.from_text(KEY).public_key).decode()
APP = "d" * 32


def populate() -> None:
    """Twenty-three rows in checkpoints of five; each third belongs to an app; some text is awkward."""
    for number in range(23):
        write(1, connection_id=APP if number % 3 == 0 else "", request_id=["", "Zoë \u2028", '"\\\n\t\x7f'][number % 3])


def export(filters: AuditFilters | None = None) -> list[bytes]:
    found = filters or AuditFilters()
    lines = exporting.lines("platform", found, exporting.range_of("platform", found))
    return [line.encode() for line in lines]


def checked(lines: list[bytes]) -> ExportSummary:
    return check(lines, Keyring([signing.LocalStatementSigner.from_text(KEY).public_key]))


def sealed(lines: list[dict[str, Any]]) -> list[bytes]:
    """Lines with an end that fits them: a forger would not forget it."""
    import hashlib

    texts = [json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for line in lines[:-1]]
    end = {"rows": sum("row" in line for line in lines), "sha256": hashlib.sha256(b"".join(texts)).hexdigest()}
    return [*texts, json.dumps({"end": end}, separators=(",", ":")).encode() + b"\n"]


Forgery = Callable[[list[dict[str, Any]]], object]


def rows_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "row" in line]


def points_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "checkpoint" in line]


def rehash(lines: list[dict[str, Any]], place: int) -> None:
    """Change a row and give it a hash that fits."""
    from keycast.audit.chain import row_hash

    line = rows_of(lines)[place]
    line["row"]["actor_label"] = "somebody else"
    line["hash"] = row_hash(bytes.fromhex(line["previous_hash"]), tuple(line["row"].values())).hex()


FORGERIES: dict[str, Forgery] = {
    "a row edited": lambda lines: rows_of(lines)[3]["row"].update(data="{}"),
    "a row edited and hashed": lambda lines: rehash(lines, 3),
    "a proven row edited and hashed": lambda lines: rehash(lines, 4),
    "a row deleted": lambda lines: lines.remove(rows_of(lines)[3]),
    "the last row of a run deleted": lambda lines: lines.remove(rows_of(lines)[4]),
    "two rows swapped": lambda lines: lines.insert(4, lines.pop(3)),
    "a row twice": lambda lines: lines.insert(3, lines[2]),
    "a proof of another row": lambda lines: rows_of(lines)[9].update(proof=rows_of(lines)[4]["proof"]),
    "a number that is a text": lambda lines: rows_of(lines)[2]["row"].update(sequence="3"),
    "a number that is a truth": lambda lines: rows_of(lines)[0]["row"].update(sequence=True),
    "a row of another chain": lambda lines: rows_of(lines)[2]["row"].update(chain="a" * 32),
    "another chain in the header": lambda lines: lines[0].update(chain="a" * 32),
    "a checkpoint edited": lambda lines: points_of(lines)[0]["checkpoint"].update(size=6),
    "a checkpoint with another root": lambda lines: points_of(lines)[0]["checkpoint"].update(root="0" * 64),
    "a checkpoint gone": lambda lines: lines.remove(points_of(lines)[0]),
    "a line of something else": lambda lines: lines.insert(2, {"note": "x"}),
    "another format": lambda lines: lines[0].update(format="keycast.audit.export.2"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_export_that_was_changed_is_refused(forgery: str, signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    lines = [json.loads(line) for line in export()]
    assert checked(sealed(lines)).unsigned == 0
    FORGERIES[forgery](lines)
    with pytest.raises(ExportError):
        checked(sealed(lines))


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_an_export_that_was_cut_short_is_refused(cut: int, signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    with pytest.raises(ExportError, match="stops"):
        checked(export()[:-cut])


def test_an_export_with_something_behind_its_end_is_refused(signer: signing.StatementSigner) -> None:
    populate()
    with pytest.raises(ExportError, match="follows"):
        checked([*export(), b"{}\n"])


@pytest.mark.parametrize("raw", [b"", b"\n", b"[]\n", b"\xff\n", b"[" * 50_000 + b"\n", b"null\n", b'{"format":1}\n'])
def test_what_is_no_export_is_refused(raw: bytes) -> None:
    with pytest.raises(ExportError):
        checked([raw])


def test_a_strangers_key_proves_nothing(signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    with pytest.raises(ExportError, match="not trusted"):
        check(export(), Keyring([signing.LocalStatementSigner.from_text(OTHER_KEY).public_key]))


def test_rows_that_no_checkpoint_covers_are_counted(signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    write(4)
    found = checked(export())
    assert (found.rows, found.unsigned) == (27, 4)
    assert checked(export(AuditFilters(connection_id=APP))).unsigned == 0


def test_without_any_checkpoint_nothing_is_proven(settings: Settings) -> None:
    settings.AUDIT_CHECKPOINT_KEY = ""
    signing.current.cache_clear()
    populate()
    assert checked(export()).unsigned == 23


def test_a_whole_chain_is_proven_without_a_gap(signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    found = checked(export())
    assert (found.rows, found.first, found.last, found.is_complete, found.checkpoints) == (23, 1, 23, True, 5)


@pytest.mark.parametrize(
    "filters",
    [
        AuditFilters(connection_id=APP),
        AuditFilters(outcomes=[AuditOutcome.OK], connection_id=APP),
        AuditFilters(tags=[AuditTag.KEY_CREATED]),
        AuditFilters(tags=[AuditTag.KEY_DESTROYED]),
        AuditFilters(actor_id="test"),
    ],
)
def test_chosen_rows_are_proven_one_by_one(filters: AuditFilters, signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    found = checked(export(filters))
    assert found.unsigned == 0
    assert found.rows == AuditRow.objects.filter(filters.as_query()).count()
    assert not found.is_complete


def test_a_part_of_a_chain_is_proven(signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    for first, last in ((1, 3), (4, 12), (7, 7), (23, 23), (6, 10)):
        lines = exporting.lines("platform", AuditFilters(), exporting.ExportRange(first, last))
        found = checked([line.encode() for line in lines])
        assert (found.rows, found.first, found.last, found.unsigned) == (last - first + 1, first, last, 0)


def test_rows_behind_a_cut_are_proven_still(signer: signing.StatementSigner, settings: Settings) -> None:
    populate()
    jobs.sign_checkpoints()
    cut_now(settings)
    write(7)
    checkpoints.make_all("platform", signer)
    found = checked(export())
    assert (found.first, found.unsigned) == (24, 0)


def test_a_database_that_was_tampered_with_exports_what_fails(signer: signing.StatementSigner) -> None:
    populate()
    jobs.sign_checkpoints()
    tamper("UPDATE audit_auditrow SET actor_label = 'x' WHERE sequence = 8")
    with pytest.raises(ExportError, match="Row 8"):
        checked(export())


def test_an_export_takes_few_queries_and_reads_page_by_page(
    signer: signing.StatementSigner, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    populate()
    jobs.sign_checkpoints()
    with django_assert_max_num_queries(2 + 5 * 4):
        export()


# --- commands ---


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def exported(signer: signing.StatementSigner, tmp_path: Path) -> Path:
    populate()
    path = tmp_path / "export.jsonl"
    assert run("export_audit", "--platform", "--output", str(path), "--reason", "a test")[0] == 0
    return path


def test_the_command_never_overwrites_and_refuses_strangers(exported: Path) -> None:
    for arguments in (["--platform", "--output", str(exported)], ["--tenant", "nobody"]):
        with pytest.raises(CommandError) as refusal:
            run("export_audit", *arguments)
        assert refusal.value.returncode == 2


def test_taking_the_log_out_is_recorded_in_it(exported: Path) -> None:
    row = AuditRow.objects.get(tag=AuditTag.AUDIT_EXPORTED)
    assert "a test" in row.data
    assert oct(exported.stat().st_mode)[-3:] == "600"


def test_the_command_checks_an_export(exported: Path) -> None:
    assert run("verify_audit", "--export", str(exported), "--key", PUBLIC) == (
        0,
        "23 rows of chain platform, 1 to 23 without a gap: all proven by 5 signed checkpoints.\n",
    )
    exported.write_bytes(exported.read_bytes().replace(b'"ok"', b'"no"', 1))
    code, text = run("verify_audit", "--export", str(exported), "--key", PUBLIC, "--json")
    assert (code, json.loads(text)["proven"]) == (1, False)


def offline(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Without our settings, our database or Django: an import of it would fail."""
    code = (
        "import sys; sys.modules.update({'django': None});"
        "from keycast.audit.offline import main; sys.exit(main(sys.argv[1:]))"
    )
    clean = {"PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60, check=False)


def test_an_export_is_checked_without_django_database_or_settings(exported: Path, tmp_path: Path) -> None:
    found = offline(str(exported), "--key", PUBLIC, "--json")
    assert (found.returncode, json.loads(found.stdout)["rows"]) == (0, 23), found.stderr
    assert offline(str(exported), "--key", "AAAA").returncode == 2
    assert offline(str(tmp_path / "missing"), "--key", PUBLIC).returncode == 2


@pytest.mark.needs_node
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_a_verifier_in_another_language_agrees(exported: Path, tmp_path: Path) -> None:
    def ask(path: Path) -> subprocess.CompletedProcess[str]:
        command = ["node", str(Path(__file__).parent / "verifier" / "verify.mjs"), str(path), PUBLIC]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ask(exported).stdout == "23 rows proven\n"
    some = tmp_path / "some.jsonl"
    run("export_audit", "--platform", "--connection-id", APP, "--output", str(some))
    assert ask(some).stdout == "8 rows proven\n"
    for name, forge in FORGERIES.items():
        lines = [json.loads(line) for line in exported.read_bytes().splitlines()]
        forge(lines)
        (tmp_path / "forged.jsonl").write_bytes(b"".join(sealed(lines)))
        assert ask(tmp_path / "forged.jsonl").returncode == 1, name
