"""Whose authorisations the co-signer accepts: no successor without the present HSM key, but by an operator there."""

from __future__ import annotations

import sqlite3
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from keycast.crypto.points import even_half
from keycast.nostr.nip01 import id_of
from keys.cosigner import store
from keys.errors import InvalidOperand, KeyExists
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import CosignerBusy, CosignerRefused, StaleChallenge
from keys.signing.cosigning.messages import NO_PROOF
from tests.keys.cosigner.support import FakeHsm, Process, attested, grant, half_a, make_key, note


def successor(bench, name="next"):
    return bench.hsm.make(name)


def of(key):
    return key.tenant_id, key.key_id


def present(key):
    return bytes.fromhex(key.hsm.authoriser)


def permit(bench, key, new, **changes):
    old = changes.pop("old", present(key))
    return grant(bench.hsm, key, AuthorisationPurpose.SUCCEED, authorisation.succession(old, new), **changes)


async def succeed(bench, key, new, allowed=None, proof=None):
    """0 when it is accepted, or when it will be."""
    proof = attested(new) if proof is None else proof
    return await bench.client.succeed_authoriser(*of(key), new, allowed or permit(bench, key, new), proof)


async def signs_by(bench, key, name, content):
    event_id = id_of(note(key, content))
    signer = bench.new_signer()

    class By:
        provider = "google"

        async def authorise(self, hsm, digest):
            return bench.hsm.sign(name, digest)

    signer._authorisers = {"google": By()}
    try:
        return await signer.sign_event_id(key, note(key, content), event_id)
    finally:
        signer.forget_all()


async def test_a_successor_needs_the_present_keys_signature_over_exactly_this_change(bench):
    key, other = await bench.key(), await bench.key()
    new, another = successor(bench), successor(bench, "another")
    self_made = FakeHsm()
    self_made.keys[key.hsm.key_name], self_made.cosigner = bench.hsm.keys["next"], bench.cosigner
    forged = [
        permit(bench, key, another),
        permit(bench, key, new, old=present(other)),
        permit(bench, key, new, of=other),
        permit(bench, key, new, challenge=bytes(16)),
        grant(bench.hsm, key, AuthorisationPurpose.REFRESH, authorisation.succession(present(key), new)),
        grant(self_made, key, AuthorisationPurpose.SUCCEED, authorisation.succession(present(key), new)),
    ]
    for wrong in forged:
        with pytest.raises((CosignerRefused, StaleChallenge)):
            await succeed(bench, key, new, wrong)
    assert await bench.client.authorisers(*of(key)) == (present(key), b"")


async def test_what_is_no_point_or_another_keys_hsm_key_is_no_successor(bench):
    key, other = await bench.key(), await bench.key()
    no_point = b"\x02" + b"\xff" * 32
    with pytest.raises(InvalidOperand):
        await succeed(bench, key, no_point, proof=NO_PROOF)
    with pytest.raises(KeyExists):
        await succeed(bench, key, present(other))


async def test_an_authorisation_of_a_successor_holds_once(bench):
    key = await bench.key()
    new = successor(bench)
    allowed = permit(bench, key, new)
    await succeed(bench, key, new, allowed)
    await succeed(bench, key, new, allowed)  # a lost reply: it is so already
    await bench.client.settle_authoriser(*of(key), present(key))
    with pytest.raises(CosignerRefused):
        await succeed(bench, key, new, allowed)


async def test_two_authorisers_are_accepted_until_one_is_settled(bench):
    key = await bench.key()
    new = successor(bench)
    with pytest.raises(CosignerRefused):
        await signs_by(bench, key, "next", "too early")
    await succeed(bench, key, new)
    await signs_by(bench, key, key.hsm.key_name, "old")
    await signs_by(bench, key, "next", "new")
    with pytest.raises(CosignerRefused):
        await bench.client.settle_authoriser(*of(key), successor(bench, "stranger"))
    await bench.client.settle_authoriser(*of(key), new)
    await bench.client.settle_authoriser(*of(key), new)
    assert await bench.client.authorisers(*of(key)) == (new, b"")
    await signs_by(bench, key, "next", "new again")
    with pytest.raises(CosignerRefused):
        await signs_by(bench, key, key.hsm.key_name, "old again")


async def test_one_change_of_a_key_at_a_time(bench):
    key = await bench.key()
    new, half = successor(bench), even_half()[0].public_key
    await succeed(bench, key, new)
    with pytest.raises(CosignerBusy):
        refreshing = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, half)
        await bench.client.prepare_refresh(*of(key), half_a(key), half, refreshing)
    with pytest.raises(CosignerBusy):
        third = successor(bench, "third")
        await succeed(bench, key, third)
    await bench.client.settle_authoriser(*of(key), present(key))
    await bench.client.prepare_refresh(
        *of(key), half_a(key), half, grant(bench.hsm, key, AuthorisationPurpose.REFRESH, half)
    )
    with pytest.raises(CosignerBusy):
        await succeed(bench, key, new)


def test_an_operator_beside_the_co_signer_replaces_a_lost_hsm_key(tmp_path, capsys):
    process, hsm = Process(tmp_path), FakeHsm()
    key = blocking(lambda client: make_key(client, hsm), process.client())
    path, new = tmp_path / "p.sqlite3", hsm.make("next")
    with override_settings(COSIGNER_DB=str(path)):
        order = ("cosigner", "--replace-authoriser", str(key.key_id), new.hex())
        with pytest.raises(CommandError, match="Stop the co-signer first"):
            call_command(*order, "--reason", "lost")
        process.stop()
        with pytest.raises(CommandError, match="Say why"):
            call_command(*order)
        with pytest.raises(CommandError, match="unknown-key"):
            call_command("cosigner", "--replace-authoriser", str(uuid.uuid4()), new.hex(), "--reason", "lost")
        with pytest.raises(CommandError, match="66 hexadecimal"):
            call_command("cosigner", "--replace-authoriser", str(key.key_id), "ff" * 33, "--reason", "lost")
        call_command(*order, "--reason", "the key ring was deleted")
    assert f"{key.hsm.authoriser} no longer" in capsys.readouterr().out
    process.start()
    assert blocking(lambda b: b.authorisers(*of(key)), process.client()) == (new, b"")
    assert "intact" in process.verify_audit().stdout
    process.stop()
    with sqlite3.connect(path) as connection:
        written = connection.execute("SELECT data FROM audit_auditrow WHERE tag LIKE '%replaced'").fetchall()
    assert "the key ring was deleted" in written[0][0]


def test_a_database_of_the_version_before_is_brought_up_to_date(tmp_path):
    """Nothing is lost, and what the new rules allow is allowed."""
    process, hsm = Process(tmp_path), FakeHsm()
    key = blocking(lambda client: make_key(client, hsm), process.client())
    process.stop()
    path = tmp_path / "p.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """PRAGMA legacy_alter_table = ON; PRAGMA foreign_keys = OFF; DROP INDEX one_key;
            ALTER TABLE cosigner_key RENAME TO newer;
            CREATE TABLE cosigner_key (key_id BLOB PRIMARY KEY, tenant_id BLOB NOT NULL,
                public_key BLOB NOT NULL UNIQUE, state TEXT NOT NULL, authoriser BLOB UNIQUE, created_at INTEGER);
            INSERT INTO cosigner_key SELECT key_id, tenant_id, public_key, state, authoriser, created_at FROM newer;
            DROP TABLE newer;
            CREATE TABLE cosigner_used (digest BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
            ALTER TABLE cosigner_half DROP COLUMN ready_at;
            CREATE TABLE cosigner_signed (event_id BLOB PRIMARY KEY, count INTEGER, at INTEGER) WITHOUT ROWID;
            INSERT INTO cosigner_used VALUES (x'01', 1 << 60);
            PRAGMA user_version = 1;"""
        )
    process.start()
    assert blocking(lambda b: b.state(*of(key)), process.client()) == "active"
    assert blocking(lambda b: b.authorisers(*of(key)), process.client()) == (present(key), b"")
    process.stop()
    assert store.read_only(path).execute("PRAGMA user_version").fetchone()[0] == store.VERSION
    assert not store.read_only(path).execute("PRAGMA foreign_key_check").fetchall()
    gone = "SELECT count(*) FROM sqlite_master WHERE name IN ('cosigner_used', 'cosigner_signed')"
    assert store.read_only(path).execute(gone).fetchone() == (0,)


def test_an_authoriser_replacement_refuses_bytes_that_are_no_keys_of_authorisers():
    with pytest.raises(ValueError, match="keys of authorisers"):
        authorisation.succession(b"\x02" * 32, b"\x02" * 33)
