"""Signer A with reading grants: what an inbox costs at the HSM, and what stays authorised by itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keys.cosigner import operator_commands as operator
from keys.cosigner.brake_rules import key_scope
from keys.cosigner.open_readings import ReadingLimits
from keys.signing.cosigning import reading
from keys.signing.cosigning.errors import StoppedByCosigner
from keys.signing.cosigning.reading import FEW, ReadingTerms
from tests.keys.cosigner.hostile import logged
from tests.keys.cosigner.support import Bench

APP, OTHER = (Keypair.generate()[0].public_key_hex for _ in range(2))


@pytest.fixture
async def bench(tmp_path):
    bench = await Bench(tmp_path).start()
    bench.signer = bench.new_signer(reading=ReadingTerms(600, 100))
    yield bench
    await bench.stop()


def wrap(key, text):
    """A message from a key of its own, as a gift wrap (NIP-59) is."""
    sender = Keypair.generate()[0]
    shared = nip44.conversation_key(sender, bytes.fromhex(key.public_key))
    return sender.public_key_hex, nip44.encrypt(text, shared)


async def opened(bench, key, wrapped, client=APP):
    return await bench.signer.crypt(key, "nip44_decrypt", *wrapped, client)


async def in_turn(bench, key, count, client=APP):
    for number in range(count):
        assert await opened(bench, key, wrap(key, str(number)), client) == str(number)


async def tags(bench, key):
    return [tag.removeprefix("cosigner:") for tag, *_ in await logged(bench, key)]


async def test_a_live_message_is_authorised_by_itself_and_opens_nothing(bench):
    key = await bench.key()
    await in_turn(bench, key, FEW)  # the wrap's key, and the sender's
    assert bench.hsm.count == FEW
    assert "reading:opened" not in await tags(bench, key)


async def test_fifty_gift_wraps_cost_one_operation_beyond_the_first_two(bench):
    key = await bench.key()
    await in_turn(bench, key, 50)
    assert bench.hsm.count == FEW + 1
    assert (await tags(bench, key)).count("ecdh:contributed") == FEW
    assert (await bench.client.log(key.tenant_id, key.key_id)).today["openings"] == 50


async def test_so_do_fifty_that_come_together(bench):
    key = await bench.key()
    wraps = [wrap(key, str(number)) for number in range(50)]
    texts = await asyncio.gather(*(opened(bench, key, wrapped) for wrapped in wraps))
    assert texts == [str(number) for number in range(50)]
    assert bench.hsm.count <= FEW + 1


async def test_an_app_that_goes_on_reading_gets_the_next_grant_at_once(bench):
    key = await bench.key()
    await in_turn(bench, key, 250)
    assert bench.hsm.count == FEW + 3  # of 100 uses each
    assert bench.signer.readings.opened == 3


async def test_after_a_pause_it_is_met_as_at_first(bench, monkeypatch):
    key = await bench.key()
    await in_turn(bench, key, FEW + 1)
    real = reading.time.monotonic
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: real() + 700))
    bench.clock.at += 700
    await in_turn(bench, key, FEW)
    assert bench.signer.readings.opened == 1
    assert (await tags(bench, key)).count("ecdh:contributed") == 2 * FEW


async def test_each_app_has_its_own_and_one_that_nobody_knows_has_none(bench):
    key = await bench.key()
    await in_turn(bench, key, 5)
    count = bench.hsm.count
    await in_turn(bench, key, FEW, OTHER)
    for nobody in ("", "zz" * 32):
        await in_turn(bench, key, 5, nobody)
    assert bench.hsm.count == count + FEW + 10
    assert bench.signer.readings.opened == 1


async def test_encrypting_asks_for_none_and_uses_one_that_is_open(bench):
    key = await bench.key()
    for _ in range(5):
        await bench.signer.crypt(key, "nip44_encrypt", Keypair.generate()[0].public_key_hex, "hello", APP)
    assert (bench.hsm.count, bench.signer.readings.opened) == (5, 0)
    await in_turn(bench, key, 5)
    count = bench.hsm.count
    await bench.signer.crypt(key, "nip44_encrypt", Keypair.generate()[0].public_key_hex, "hello", APP)
    assert bench.hsm.count == count


async def test_where_nothing_is_kept_open_every_message_is_authorised(tmp_path):
    bench = await Bench(tmp_path, lease=0).start()
    bench.signer = bench.new_signer(reading=ReadingTerms(600, 100))
    key = await bench.key()
    await in_turn(bench, key, 5)
    assert bench.hsm.count == 5
    await bench.stop()


async def test_a_co_signer_that_allows_none_is_asked_once_and_each_message_is_authorised(tmp_path):
    bench = await Bench(tmp_path, reading=ReadingLimits(0, 0)).start()
    bench.signer = bench.new_signer(reading=ReadingTerms(600, 100))
    key = await bench.key()
    await in_turn(bench, key, 6)
    assert bench.hsm.count == 6 + 1
    await bench.stop()


async def test_one_that_was_ended_is_not_asked_for_again_at_once(bench):
    key = await bench.key()
    await in_turn(bench, key, 5)
    count = bench.hsm.count
    await bench.client.end_reading(key.tenant_id, key.key_id, bytes.fromhex(APP))
    await in_turn(bench, key, 4)
    assert bench.hsm.count == count + 1 + 4
    assert (await tags(bench, key)).count("reading:opened") == 1


async def test_a_co_signer_that_was_started_again_costs_one_more(bench):
    key = await bench.key()
    await in_turn(bench, key, 5)
    count = bench.hsm.count
    await bench.restart()
    await bench.client.close()
    await in_turn(bench, key, 5)
    assert bench.hsm.count == count + 1


async def test_a_stop_reaches_whoever_waits(bench):
    key = await bench.key()
    await in_turn(bench, key, 5)
    operator.stop(bench.folder / "b.sqlite3", key_scope(key.key_id), "a reason")
    wraps = [wrap(key, "late") for _ in range(20)]
    answers = await asyncio.gather(*(opened(bench, key, wrapped) for wrapped in wraps), return_exceptions=True)
    assert all(isinstance(answer, StoppedByCosigner) for answer in answers)


async def test_one_that_is_cancelled_takes_nothing_from_the_others(bench):
    key = await bench.key()
    await in_turn(bench, key, 5)
    wraps = [wrap(key, str(number)) for number in range(10)]
    tasks = [asyncio.create_task(opened(bench, key, wrapped)) for wrapped in wraps]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(n) for n in range(10) if n != 3] == [a for n, a in enumerate(answers) if n != 3]
