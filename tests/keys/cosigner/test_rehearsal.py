"""Restoring the co-signer's database is rehearsed on a copy: its log, its halves, and whose it is."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from keycast.nostr.nip01 import id_of
from keys.cosigner.rehearsal import CannotRehearseError, rehearse
from tests.keys.cosigner.support import KEK_A, KEK_B, Bench, CosignerKek, half_a, note

KEK = CosignerKek(lambda: KEK_B)


@pytest.fixture
async def served(bench, tmp_path):
    """The database of a co-signer that serves, one of its keys, and a folder to rehearse in."""
    key = await bench.key()
    await bench.signer.sign_event_id(key, note(key), id_of(note(key)))
    folder = tmp_path / "rehearsal"
    folder.mkdir()
    return bench.folder / "b.sqlite3", key, folder


def dump_of(database, tmp_path):
    target = tmp_path / "dump.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    connection.close()
    return target


async def test_a_file_that_is_no_database_cannot_be_rehearsed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "wrong").write_bytes(b"no database" * 1000)
    with pytest.raises(CannotRehearseError):
        rehearse(tmp_path / "none", tmp_path / "wrong", tmp_path / "folder", KEK)


async def test_halves_that_do_not_open_are_named(served):
    database, key, folder = served
    found = rehearse(database, None, folder, CosignerKek(lambda: KEK_A))
    assert (found.opened, found.halves) == (0, 1)
    assert str(key.key_id) in found.problems[0]


async def test_a_log_that_was_changed_and_a_dump_of_another_database_are_named(served, tmp_path):
    database, _, folder = served
    dump = dump_of(database, tmp_path)
    with sqlite3.connect(dump) as connection:
        connection.execute("DROP TRIGGER audit_row_no_update")
        connection.execute("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 2")
    connection.close()
    assert "Row 2 was changed" in rehearse(database, dump, folder, KEK).problems[0]
    other = tmp_path / "other"
    other.mkdir()
    bench = await Bench(other).start()
    for _ in range(3):
        await bench.key()
    await bench.stop()
    shutil.rmtree(folder)
    folder.mkdir()
    (problem,) = rehearse(database, other / "b.sqlite3", folder, KEK).problems
    assert "this dump has" in problem or "another database" in problem


async def test_a_copy_beside_the_serving_co_signer_is_sound_and_says_public_things_alone(served, bench):
    database, key, folder = served
    before = database.read_bytes()
    found = rehearse(database, None, folder, KEK)
    assert database.read_bytes() == before
    assert (found.problems, found.opened, found.halves) == ([], 1, 1)
    row = found.keys[key.key_id.hex]
    assert row["public_key"] == key.public_key
    assert row["halves"] == {half_a(key).hex(): key.hsm.cosigner_public_key}
    assert row["authorisers"] == [key.hsm.authoriser]
    assert set(row) == {"tenant", "public_key", "state", "authorisers", "halves"}
    await bench.client.ping()
