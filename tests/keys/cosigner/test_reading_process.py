"""Reading grants and the co-signer as a process: it says at its end what is over, and a kill gives nothing twice."""

from __future__ import annotations

import json
import sqlite3

import pytest

from keycast.crypto.schnorr import Keypair
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerBudgetReached, NoReading, ReadingRefused
from tests.keys.cosigner.support import FakeHsm, Process, grant, half_a, make_key

APP = Keypair.generate()[0].public_key


async def opened(client, hsm, key, uses=20, seconds=60):
    subject = authorisation.reading(APP, seconds, uses)
    signed = grant(hsm, key, AuthorisationPurpose.READ, subject, challenge=await client.challenge())
    await client.open_reading(key.tenant_id, key.key_id, APP, seconds, uses, signed)


async def read(client, key, count):
    peers = [Keypair.generate()[0].public_key for _ in range(count)]
    for part in await client.read(key.tenant_id, key.key_id, half_a(key), APP, peers):
        part.wipe()


def rows(process, tag):
    with sqlite3.connect(process.folder / "p.sqlite3") as connection:
        found = connection.execute("SELECT data FROM audit_auditrow WHERE tag = ?", (tag,)).fetchall()
    connection.close()
    return [json.loads(data) for (data,) in found]


async def test_its_settings_bound_it_and_its_end_is_in_the_log(tmp_path):
    process = Process(tmp_path, KEYCAST_COSIGNER_READING_MINUTES="1", KEYCAST_COSIGNER_READING_USES="20")
    client, hsm = process.client(), FakeHsm()
    try:
        key = await make_key(client, hsm)
        for wider in ({"uses": 21}, {"seconds": 61}):
            with pytest.raises(ReadingRefused):
                await opened(client, hsm, key, **wider)
        await opened(client, hsm, key)
        await read(client, key, 3)
        await client.close()
    finally:
        assert process.stop() == 0
    (ended,) = rows(process, "cosigner:reading:ended")
    assert (ended["reason"], ended["used"], ended["peers"]) == ("restart", 3, 3)
    assert process.verify_audit().returncode == 0


async def test_a_kill_ends_it_and_its_uses_stay_counted(tmp_path):
    process = Process(tmp_path, KEYCAST_COSIGNER_KEY_OPENINGS="10")
    client, hsm = process.client(), FakeHsm()
    try:
        key = await make_key(client, hsm)
        await opened(client, hsm, key)
        await read(client, key, 7)
        await client.close()
        process.kill()
        process.start()
        with pytest.raises(NoReading):
            await read(client, key, 1)
        await opened(client, hsm, key)
        with pytest.raises(CosignerBudgetReached):
            await read(client, key, 4)
        await read(client, key, 3)
        await client.close()
    finally:
        process.stop()
