"""What somebody in control of signer A asks of a reading grant, at the real socket: refused, and in the log."""

from __future__ import annotations

import os

import pytest

from keycast.crypto.schnorr import Keypair
from keys.cosigner import open_readings
from keys.cosigner import operator_commands as operator
from keys.cosigner.brake import CosignerBrake
from keys.cosigner.brake_rules import EVERYTHING, BrakeDefaults, key_scope, tenant_scope
from keys.cosigner.open_readings import ReadingLimits
from keys.cosigner.service import CosignerLimits
from keys.errors import InvalidOperand, KeyLocked, KeyUnavailable
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import (
    CosignerBudgetReached,
    CosignerBusy,
    CosignerRateLimited,
    CosignerRefused,
    NoReading,
    ReadingRefused,
    StaleChallenge,
    StaleHalf,
    StoppedByCosigner,
)
from tests.keys.cosigner.hostile import committed, logged, refusals
from tests.keys.cosigner.support import Bench, grant, half_a

APP, OTHER = (Keypair.generate()[0].public_key for _ in range(2))
SECONDS, USES = 600, 50


def peers(count=1):
    return [Keypair.generate()[0].public_key for _ in range(count)]


def permit(bench, key, client=APP, seconds=SECONDS, uses=USES, **changes):
    subject = authorisation.reading(client, seconds, uses)
    return grant(bench.hsm, key, AuthorisationPurpose.READ, subject, **changes)


async def open_for(bench, key, client=APP, seconds=SECONDS, uses=USES, signed=None):
    signed = signed or permit(bench, key, client, seconds, uses)
    await bench.client.open_reading(key.tenant_id, key.key_id, client, seconds, uses, signed)


async def read(bench, key, count=1, client=APP, tenant_id=None):
    named = tenant_id or key.tenant_id, key.key_id, half_a(key), client
    parts = await bench.client.read(*named, peers(count))
    for part in parts:
        part.wipe()
    return len(parts)


async def ends(bench, key):
    """Why grants of the key ended, with the uses and peers that were counted."""
    rows = await logged(bench, key, "reason", "used", "peers")
    return [tuple(row[2:]) for row in rows if row[0] == "cosigner:reading:ended"]


async def test_without_a_grant_nothing_is_read(bench):
    key = await bench.key()
    with pytest.raises(NoReading):
        await read(bench, key)
    assert await refusals(bench, key) == [("read", "no-reading")]


async def test_a_grant_opens_one_key_for_one_app(bench):
    key, other = await bench.key(), await bench.key()
    await open_for(bench, key)
    with pytest.raises(NoReading):
        await read(bench, other)
    with pytest.raises(NoReading):
        await read(bench, key, client=OTHER)
    with pytest.raises(KeyUnavailable):
        await read(bench, key, tenant_id=other.tenant_id)
    assert await read(bench, key) == 1
    assert await refusals(bench, other) == [("read", "no-reading")]
    assert ("read", "no-reading") in await refusals(bench, key)
    assert ("read", "unknown-key") in await refusals(bench, key)


async def test_a_grant_that_is_signed_for_anything_else_opens_nothing(bench):
    key, other = await bench.key(), await bench.key()
    subject = authorisation.reading(APP, SECONDS, USES)
    wrong = [
        permit(bench, key, client=OTHER),
        permit(bench, key, seconds=SECONDS - 1),
        permit(bench, key, uses=USES - 1),
        permit(bench, key, of=other),
        permit(bench, other, of=key),
        grant(bench.hsm, key, AuthorisationPurpose.ECDH, subject),
        grant(bench.hsm, key, AuthorisationPurpose.SIGN, subject),
        grant(bench.hsm, key, AuthorisationPurpose.ENABLE, bytes.fromhex(key.public_key)),
    ]
    for signed in wrong:
        with pytest.raises(CosignerRefused):
            await open_for(bench, key, signed=signed)
    assert await refusals(bench, key) == [("open-reading", "unauthorised")] * len(wrong)
    with pytest.raises(NoReading):
        await read(bench, key)


async def test_what_opens_a_grant_opens_no_single_use(bench):
    key = await bench.key()
    (peer,) = peers()
    signed = grant(bench.hsm, key, AuthorisationPurpose.READ, peer)
    with pytest.raises(CosignerRefused):
        await bench.client.ecdh(key.tenant_id, key.key_id, half_a(key), peer, signed)


async def test_a_grant_holds_once_and_names_a_challenge(bench):
    key = await bench.key()
    signed, hoarded = permit(bench, key), permit(bench, key)
    await open_for(bench, key, signed=signed)
    with pytest.raises(CosignerRefused):
        await open_for(bench, key, signed=signed)
    bench.clock.at += 120
    with pytest.raises(StaleChallenge):
        await open_for(bench, key, signed=hoarded)
    assert await refusals(bench, key) == [("open-reading", "replayed"), ("open-reading", "stale-challenge")]


async def test_a_grant_shares_its_signature_with_nothing(bench):
    key = await bench.key()
    signed = permit(bench, key)
    shared = authorisation.UseAuthorisation(signed.challenge, signed.salt, signed.signature, bytes(33))
    with pytest.raises(CosignerRefused):
        await open_for(bench, key, signed=shared)


@pytest.mark.parametrize(("seconds", "uses"), [(901, 1), (1, 2001), (2**31, 2**31)])
async def test_none_is_wider_than_the_co_signer_allows(bench, seconds, uses):
    key = await bench.key()
    with pytest.raises(ReadingRefused):
        await open_for(bench, key, seconds=seconds, uses=uses)
    assert await refusals(bench, key) == [("open-reading", "reading-refused")]


async def test_its_operator_may_allow_none(tmp_path):
    bench = await Bench(tmp_path, reading=ReadingLimits(seconds=0, uses=0)).start()
    key = await bench.key()
    with pytest.raises(ReadingRefused):
        await open_for(bench, key, seconds=1, uses=1)
    await bench.stop()


async def test_after_its_time_nothing_is_read(bench):
    key = await bench.key()
    await open_for(bench, key)
    bench.clock.at += SECONDS - 0.1
    await read(bench, key, 3)
    bench.clock.at += 0.1
    with pytest.raises(NoReading):
        await read(bench, key)
    assert await refusals(bench, key) == [("read", "no-reading")]
    assert await ends(bench, key) == [("time", 3, 3)]


async def test_the_clock_ends_what_nobody_asks_for_any_more(bench):
    key = await bench.key()
    await open_for(bench, key)
    bench.clock.at += SECONDS
    await bench.cosigner.clock.tick()
    assert await ends(bench, key) == [("time", 0, 0)]


async def test_beyond_its_uses_nothing_is_read(bench):
    key = await bench.key()
    await open_for(bench, key, uses=10)
    await read(bench, key, 8)
    with pytest.raises(NoReading):
        await read(bench, key, 3)
    await read(bench, key, 2)
    with pytest.raises(NoReading):
        await read(bench, key)
    assert await refusals(bench, key) == [("read", "no-reading")] * 2
    assert await ends(bench, key) == [("used up", 10, 10)]


async def test_a_request_has_a_bounded_number_of_peers_which_are_points(bench):
    key = await bench.key()
    await open_for(bench, key, uses=500)
    named = key.tenant_id, key.key_id, half_a(key), APP
    with pytest.raises(InvalidOperand):
        await bench.client.read(*named, [*peers(2), b"\xff" * 32])
    assert await read(bench, key, messages.MAX_PEERS) == messages.MAX_PEERS
    assert (await bench.client.log(key.tenant_id, key.key_id)).readings[0].used == messages.MAX_PEERS


@pytest.mark.parametrize("stop", ["lock", "disable"])
async def test_a_lock_ends_it_and_enabling_does_not_bring_it_back(bench, stop):
    key = await bench.key()
    await open_for(bench, key)
    await read(bench, key, 2)
    await getattr(bench.client, stop)(key.tenant_id, key.key_id)
    with pytest.raises(KeyLocked if stop == "lock" else KeyUnavailable):
        await read(bench, key)
    assert await ends(bench, key) == [("changed", 2, 2)]
    public_key = bytes.fromhex(key.public_key)
    signed = grant(bench.hsm, key, AuthorisationPurpose.ENABLE, public_key)
    await bench.client.enable(key.tenant_id, key.key_id, signed)
    with pytest.raises(NoReading):
        await read(bench, key)


async def test_forgetting_ends_it(bench):
    key = await bench.key()
    await open_for(bench, key)
    named = bytes.fromhex(key.public_key)
    await bench.client.forget(
        key.tenant_id, key.key_id, named, grant(bench.hsm, key, AuthorisationPurpose.FORGET, named)
    )
    with pytest.raises(KeyUnavailable):
        await read(bench, key)
    assert await ends(bench, key) == [("changed", 0, 0)]


async def test_fresh_halves_end_it(bench):
    key = await bench.key()
    await open_for(bench, key)
    await committed(bench, key)
    with pytest.raises((NoReading, StaleHalf)):
        await read(bench, key)
    assert [reason for reason, *_ in await ends(bench, key)] == ["changed"]


@pytest.mark.parametrize(
    "scope",
    [lambda key: key_scope(key.key_id), lambda key: tenant_scope(key.tenant_id), lambda key: EVERYTHING],
    ids=["key", "tenant", "all"],
)
async def test_the_operators_stop_ends_it_and_resuming_does_not_bring_it_back(bench, scope):
    key = await bench.key()
    await open_for(bench, key)
    operator.stop(bench.folder / "b.sqlite3", scope(key), "a reason")
    with pytest.raises(StoppedByCosigner):
        await read(bench, key)
    with pytest.raises(StoppedByCosigner):
        await open_for(bench, key)
    assert [reason for reason, *_ in await ends(bench, key)] == ["stopped"]
    operator.resume(bench.folder / "b.sqlite3", scope(key), "looked at")
    with pytest.raises(NoReading):
        await read(bench, key)


async def test_a_stop_that_was_lifted_before_anybody_read_has_ended_it_all_the_same(bench):
    key, other = await bench.key(), await bench.key()
    await open_for(bench, key)
    await open_for(bench, other)
    operator.stop(bench.folder / "b.sqlite3", key_scope(key.key_id), "a reason")
    operator.resume(bench.folder / "b.sqlite3", key_scope(key.key_id), "looked at")
    await bench.store.write(lambda _: None)  # the process looks every second
    with pytest.raises(NoReading):
        await read(bench, key)
    assert await read(bench, other) == 1


async def test_whoever_asks_may_end_it_and_gets_no_other_one_before_its_time(bench):
    key = await bench.key()
    await open_for(bench, key)
    await open_for(bench, key, OTHER)
    await bench.client.end_reading(key.tenant_id, key.key_id, APP)
    await bench.client.end_reading(key.tenant_id, key.key_id, APP)
    with pytest.raises(NoReading):
        await read(bench, key)
    with pytest.raises(ReadingRefused):
        await open_for(bench, key)
    assert await read(bench, key, client=OTHER) == 1
    bench.clock.at += SECONDS
    await open_for(bench, key)
    await bench.client.end_reading(key.tenant_id, key.key_id)
    assert (await bench.client.log(key.tenant_id, key.key_id)).readings == []


async def test_a_new_one_takes_the_place_of_the_one_before(bench):
    key = await bench.key()
    await open_for(bench, key, uses=5)
    await read(bench, key, 5 - 1)
    await open_for(bench, key, uses=3)
    (found,) = (await bench.client.log(key.tenant_id, key.key_id)).readings
    assert (found.client, found.uses, found.used, found.peers) == (APP, 3, 0, 0)
    assert await ends(bench, key) == [("replaced", 4, 4)]


async def test_a_restart_ends_it_and_counts_no_use_again(tmp_path):
    bench = Bench(tmp_path)
    bench.brake = CosignerBrake(BrakeDefaults(key_openings=20))
    await bench.start()
    key = await bench.key()
    await open_for(bench, key)
    await read(bench, key, 12)
    bench.brake = CosignerBrake(BrakeDefaults(key_openings=20))
    await bench.restart()
    await bench.client.close()
    with pytest.raises(NoReading):
        await read(bench, key)
    await open_for(bench, key)
    with pytest.raises(CosignerBudgetReached):
        await read(bench, key, 9)
    assert await read(bench, key, 8) == 8
    with pytest.raises(CosignerBudgetReached):
        await read(bench, key)
    page = await bench.client.log(key.tenant_id, key.key_id)
    assert page.today["openings"] == 20
    # What was refused was not used, and is not counted as such.
    assert page.readings[0].used == 8
    await bench.stop()


async def test_what_a_grant_bounds_does_not_meet_the_keys_rate(tmp_path):
    bench = await Bench(tmp_path, limits=CosignerLimits((0.001, 6), (0.001, 60))).start()
    key = await bench.key()  # two requests of six
    await open_for(bench, key)
    for _ in range(20):
        await read(bench, key)
    for _ in range(3):
        with pytest.raises(NoReading):
            await read(bench, key, client=OTHER)
    with pytest.raises(CosignerRateLimited):
        await read(bench, key, client=OTHER)
    await bench.stop()


async def test_one_row_says_that_it_is_open_and_one_how_it_was_used(bench):
    key = await bench.key()
    await open_for(bench, key)
    same = peers(2)
    for asked in (same, same, peers(1)):
        for part in await bench.client.read(key.tenant_id, key.key_id, half_a(key), APP, asked):
            part.wipe()
    await bench.cosigner.reading.end_all()
    rows = await logged(bench, key, "app", "seconds", "uses", "reason", "used", "peers")
    assert rows[-2:] == [
        ("cosigner:reading:opened", "ok", APP.hex(), SECONDS, USES, None, None, None),
        ("cosigner:reading:ended", "ok", APP.hex(), None, None, "restart", 5, 3),
    ]


async def test_the_number_of_open_ones_is_bounded(bench):
    key = await bench.key()
    for _ in range(64):
        await open_for(bench, key, os.urandom(32))
    with pytest.raises(CosignerBusy):
        await open_for(bench, key)


async def test_what_is_held_back_is_bounded(bench, monkeypatch):
    monkeypatch.setattr(open_readings, "MAX_OPEN", 2)
    key = await bench.key()
    for _ in range(5):
        client = Keypair.generate()[0].public_key
        await open_for(bench, key, client)
        await bench.client.end_reading(key.tenant_id, key.key_id, client)
    assert len(bench.cosigner.reading._readings._held) == 2
    with pytest.raises(ReadingRefused):
        await open_for(bench, key, client)
