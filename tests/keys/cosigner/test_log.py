"""The co-signer's own log and database: whole, append-only, one writer, and faults named."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.cosigner import audit, store
from keys.cosigner.store import CosignerRefusalError, CosignerStore, CosignerStoreInUse
from keys.signing.cosigning.messages import RefusalCode
from tests.keys.cosigner.support import note


@pytest.fixture
async def log(bench):
    """The database of a co-signer that has signed thrice, opened by somebody else."""
    key = await bench.key()
    for content in "abc":
        await bench.signer.sign_event_id(key, note(key, content), id_of(note(key, content)))
    with sqlite3.connect(bench.folder / "b.sqlite3", isolation_level=None) as connection:
        yield connection
    connection.close()


def without_triggers(log):
    for (name,) in log.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        log.execute(f"DROP TRIGGER {name}")


async def test_rows_are_neither_changed_nor_removed(log):
    for statement in (
        "UPDATE audit_auditrow SET outcome = 'denied' WHERE sequence = 2",
        "DELETE FROM audit_auditrow WHERE sequence = 2",
        "UPDATE audit_auditchain SET sequence = 1",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            log.execute(statement)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 4", "Row 4 was changed"),
        ("DELETE FROM audit_auditrow WHERE sequence = 2", "Row 2 is missing"),
        ("DELETE FROM audit_auditrow WHERE sequence >= 4", "Rows 4 to 5 are missing"),
        ("UPDATE audit_auditchain SET head = zeroblob(32)", "does not fit row 5"),
    ],
)
async def test_the_first_fault_is_named(log, statement, fault):
    assert audit.verify(log) == audit.CosignerAuditReport(5)
    without_triggers(log)
    log.execute(statement)
    assert fault in audit.verify(log).fault


async def test_one_process_serves_a_database(bench):
    with pytest.raises(CosignerStoreInUse):
        CosignerStore(bench.folder / "b.sqlite3")


async def test_work_that_refuses_undoes_only_itself(tmp_path):
    kept = CosignerStore(tmp_path / "c.sqlite3")
    await kept.write(lambda writing: writing.execute("CREATE TABLE done (what TEXT)"))

    def refuse(writing):
        writing.execute("INSERT INTO done VALUES ('refused')")
        raise CosignerRefusalError(RefusalCode.REPLAYED)

    def work(writing):
        writing.execute("INSERT INTO done VALUES ('kept')")

    try:
        results = await asyncio.gather(*map(kept.write, (work, refuse, refuse)), return_exceptions=True)
        assert [type(result).__name__ for result in results] == [
            "NoneType",
            "CosignerRefusalError",
            "CosignerRefusalError",
        ]
        rows = await kept.write(lambda writing: writing.execute("SELECT what FROM done").fetchall())
        assert rows == [("kept",)]
    finally:
        kept.close()


async def test_the_database_and_its_folder_hold_no_half_in_clear(bench):
    _, secret = Keypair.generate()
    key = await bench.key(secret)
    await bench.signer.sign_event_id(key, note(key), id_of(note(key)))
    opened = bench.vault_b._cache._entries
    copies = [entry[1].keypair.secret() for entry in opened.values()]
    halves = [bytes(copy.view()) for copy in copies]
    assert halves
    assert all(any(half) for half in halves)
    for file in bench.folder.glob("b.sqlite3*"):
        content = file.read_bytes()
        assert not any(half in content for half in [*halves, bytes(secret.view())]), file.name
        assert file.stat().st_mode & 0o077 == 0, file.name


async def test_reading_beside_a_serving_co_signer(bench):
    await bench.client.ping()
    connection = store.read_only(bench.folder / "b.sqlite3")
    assert audit.verify(connection).fault == ""
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM cosigner_key")
    connection.close()
