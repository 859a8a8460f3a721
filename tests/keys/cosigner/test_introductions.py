"""Signer A tells the co-signer of an app before its first request; what was missed is made up for by the next one."""

from __future__ import annotations

import pytest

from keycast.crypto.schnorr import Keypair, verify
from keycast.nostr import nip44
from keycast.nostr.nip01 import id_of
from keys.cosigner import operator_commands as operator
from keys.cosigner.brake_rules import EVERYTHING
from keys.signing.cosigning import introductions
from keys.signing.cosigning.errors import AppsClosedByCosigner, CosignerRefused
from keys.signing.cosigning.reading import ReadingTerms
from tests.keys.cosigner.asking import App
from tests.keys.cosigner.hostile import logged, refusals
from tests.keys.cosigner.support import note


async def sign(bench, key, app, content="hello", *, signer=None, request=None):
    event = note(key, content)
    used = app.use(request or app.to_sign(event))
    signature = await (signer or bench.signer).sign_event_id(key, event, id_of(event), used)
    assert verify(bytes.fromhex(key.public_key), id_of(event), signature)


async def told(bench, key):
    return [row[2] for row in await logged(bench, key, "kinds") if row[0] == "cosigner:app:admitted"]


@pytest.fixture
async def bench(bench):
    operator.limit(bench.folder / "b.sqlite3", EVERYTHING, {"asked": "required"}, "test")
    return bench


async def test_a_closed_list_is_told_to_the_app(bench):
    key = await bench.key()
    operator.limit(bench.folder / "b.sqlite3", EVERYTHING, {"apps": "closed"}, "test")
    with pytest.raises(AppsClosedByCosigner):
        await sign(bench, key, App())
    assert bench.hsm.count == 0


async def test_what_was_not_asked_for_is_refused_on_the_honest_way_too(bench):
    key, app = await bench.key(), App()
    with pytest.raises(CosignerRefused):
        await sign(bench, key, app, request=app.to_sign(note(key, "another")))


async def test_an_app_is_told_of_once_and_by_each_process_without_a_further_row(bench):
    key, app = await bench.key(), App()
    for number in range(3):
        await sign(bench, key, app, str(number))
    await sign(bench, key, app, signer=bench.new_signer())
    assert await told(bench, key) == ["1,7"]
    assert await refusals(bench, key) == []


async def test_it_is_told_again_after_an_hour(bench, monkeypatch):
    key, app = await bench.key(), App()
    await sign(bench, key, app)
    monkeypatch.setattr(introductions, "TOLD_FOR", -1.0)
    told_now = []
    real = bench.client.admit_app

    async def admit(*args):
        told_now.append(args)
        await real(*args)

    monkeypatch.setattr(bench.client, "admit_app", admit)
    await sign(bench, key, app)
    assert len(told_now) == 1
    assert await told(bench, key) == ["1,7"]


async def test_a_wider_grant_is_told_with_the_next_request(bench):
    key, app = await bench.key(), App(kinds=((1, 1),))
    await sign(bench, key, app)
    app.kinds = [(1, 9)]
    await sign(bench, key, app)
    assert await told(bench, key) == ["1", "1-9"]


async def test_a_cosigner_that_has_lost_its_list_hears_of_the_app_within_the_request(bench):
    key, app = await bench.key(), App()
    await sign(bench, key, app)
    await bench.store.write(lambda writing: writing.execute("DELETE FROM cosigner_app"))
    await bench.restart()
    await bench.client.close()
    await sign(bench, key, app)
    assert await refusals(bench, key) == [("sign", "app-not-admitted")]


async def test_an_app_that_ended_and_was_let_in_again_is_served(bench):
    key, app = await bench.key(), App()
    await sign(bench, key, app)
    await bench.client.end_app(key.tenant_id, key.key_id, app.public_key)
    await sign(bench, key, app)
    assert await told(bench, key) == ["1,7", "1,7"]


async def test_messages_are_opened_for_the_app_that_asks(bench):
    key, app, peer = await bench.key(), App(methods=("nip44_encrypt",)), Keypair.generate()[0]
    asked = app.use(app.request("nip44_encrypt", [peer.public_key_hex, "hi"]))
    sealed = await bench.signer.crypt(key, "nip44_encrypt", peer.public_key_hex, "hi", asked=asked)
    with nip44.conversation_key(peer, bytes.fromhex(key.public_key)) as joint:
        assert nip44.decrypt(sealed, joint) == "hi"


async def test_where_requests_are_demanded_no_reading_grant_is_served_and_each_peer_is_asked_for(bench):
    key, app = await bench.key(), App()
    signer = bench.new_signer(reading=ReadingTerms(600, 100))
    client = app.public_key.hex()

    async def read(number):
        peer = Keypair.generate()[0]
        with nip44.conversation_key(peer, bytes.fromhex(key.public_key)) as joint:
            sealed = nip44.encrypt(str(number), joint)
        asked = app.use(app.request("nip44_decrypt", [peer.public_key_hex, sealed]))
        assert await signer.crypt(key, "nip44_decrypt", peer.public_key_hex, sealed, client, asked) == str(number)

    for number in range(5):
        await read(number)
    assert await refusals(bench, key) == [("open-reading", "reading-refused")]
    # One that was opened before the operator's word ends with it.
    operator.limit(bench.folder / "b.sqlite3", EVERYTHING, {"asked": "where-available"}, "test")
    signer = bench.new_signer(reading=ReadingTerms(600, 100))
    for number in range(5):
        await read(number)
    operator.limit(bench.folder / "b.sqlite3", EVERYTHING, {"asked": "required"}, "test")
    for number in range(3):
        await read(number)
    rows = [row for row in await logged(bench, key, "app") if row[0] == "cosigner:ecdh:contributed"]
    assert [row[2] for row in rows] == [client] * len(rows)
