"""How the co-signer ends keys: by a grant, after a delay that can be broken off, and so that nothing stays on disk."""

from __future__ import annotations

import pytest

from keycast.crypto.points import even_half
from keycast.nostr.nip01 import id_of
from keys.cosigner import audit, forgetting
from keys.cosigner.store import CosignerRefusalError, read_only
from keys.errors import KeyExists, KeyUnavailable
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerRefused, StaleHalf, TooManyForgets
from keys.signing.cosigning.messages import RefusalCode
from tests.keys.cosigner.hostile import ask_to_sign, later, logged, refusals
from tests.keys.cosigner.support import Bench, grant, note

DAY = 24 * 3600


def named(key):
    return bytes.fromhex(key.public_key)


def permit(bench, key, subject=None, purpose=AuthorisationPurpose.FORGET):
    return grant(bench.hsm, key, purpose, subject or named(key))


async def forget(bench, key, permitted=None):
    await bench.client.forget(key.tenant_id, key.key_id, named(key), permitted or permit(bench, key))


async def state(bench, key):
    return await bench.client.state(key.tenant_id, key.key_id)


async def stored(bench, key):
    """The sealed halves of a key."""
    rows = "SELECT sealed FROM cosigner_half WHERE key_id = ?"
    return [row[0] for row in await bench.store.write(lambda w: w.execute(rows, (key.key_id.bytes,)).fetchall())]


def files_with(bench, secret):
    return [path.name for path in bench.folder.glob("b.sqlite3*") if secret in path.read_bytes()]


@pytest.mark.parametrize("purpose", [found for found in AuthorisationPurpose if found != "forget"])
async def test_a_grant_of_another_purpose_ends_nothing(bench, purpose):
    key = await bench.key()
    with pytest.raises(CosignerRefused):
        await forget(bench, key, permit(bench, key, purpose=purpose))
    assert await state(bench, key) == "active"


async def test_a_grant_for_another_key_or_half_ends_nothing(bench):
    key, other = await bench.key(), await bench.key()
    with pytest.raises(CosignerRefused):
        await forget(bench, key, permit(bench, key, named(other)))
    with pytest.raises(StaleHalf):
        await bench.client.forget(key.tenant_id, key.key_id, named(other), permit(bench, key, named(other)))
    assert await state(bench, key) == "active"


async def test_a_key_that_waits_for_its_end_is_out_of_use_and_stays_so(bench):
    key = await bench.key()
    await forget(bench, key)
    with pytest.raises(KeyUnavailable):
        await ask_to_sign(bench, key, note(key))
    await bench.client.lock(key.tenant_id, key.key_id)
    await bench.client.disable(key.tenant_id, key.key_id)
    await bench.client.forget(key.tenant_id, key.key_id, named(key), permit(bench, key))
    with pytest.raises(KeyUnavailable):
        await bench.client.enable(key.tenant_id, key.key_id, permit(bench, key, None, AuthorisationPurpose.ENABLE))
    assert await state(bench, key) == "forgetting"


async def test_its_halves_are_destroyed_when_its_time_has_come_and_not_before(bench, monkeypatch):
    key = await bench.key()
    await forget(bench, key)
    later(monkeypatch, 30 * DAY - 60)
    await bench.cosigner.clock.tick()
    assert await state(bench, key) == "forgetting"
    later(monkeypatch, 61)
    await bench.cosigner.clock.tick()
    assert (await state(bench, key), await stored(bench, key)) == ("forgotten", [])
    with pytest.raises(KeyExists):
        await bench.client.create(key.tenant_id, key.key_id, even_half()[0].public_key)
    last = (await logged(bench, key))[-2:]
    assert [row[0] for row in last] == ["cosigner:key:forgotten", "cosigner:request:refused"]


async def test_without_a_delay_it_is_destroyed_at_once(tmp_path):
    bench = await Bench(tmp_path, forgetting=forgetting.ForgettingLimits(delay=0)).start()
    try:
        key = await bench.key()
        await forget(bench, key)
        assert (await state(bench, key), await stored(bench, key)) == ("forgotten", [])
    finally:
        await bench.stop()


async def test_signer_a_can_keep_a_key_and_the_hsm_enables_it(bench, monkeypatch):
    key = await bench.key()
    await forget(bench, key)
    await bench.client.keep(key.tenant_id, key.key_id)
    assert await state(bench, key) == "disabled"
    later(monkeypatch, 31 * DAY)
    await bench.cosigner.clock.tick()
    await bench.client.enable(key.tenant_id, key.key_id, permit(bench, key, None, AuthorisationPurpose.ENABLE))
    await bench.signer.sign_event_id(key, note(key), id_of(note(key)))


async def test_the_operator_can_keep_a_key_beside_a_serving_co_signer(bench, monkeypatch):
    key, other = await bench.key(), await bench.key()
    await forget(bench, key)
    reading = read_only(bench.folder / "b.sqlite3")
    (found,) = forgetting.waiting(reading)
    reading.close()
    assert (found.key_id, found.due_at - found.asked_at) == (key.key_id, 1000 * 30 * DAY)

    def cancel(writing, key_id):
        forgetting.cancel_forget(writing, key_id, operator="operator:0", reason="nobody of us asked for it")

    with pytest.raises(CosignerRefusalError):
        await bench.store.write(lambda writing: cancel(writing, other.key_id))
    await bench.store.write(lambda writing: cancel(writing, key.key_id))
    await bench.cosigner.clock.tick()
    assert await state(bench, key) == "disabled"
    assert ("cosigner:key:forget-cancelled", "ok", "nobody of us asked for it") in await logged(bench, key, "reason")
    reading = read_only(bench.folder / "b.sqlite3")
    assert audit.verify(reading).fault == ""
    reading.close()


async def test_no_more_keys_are_ended_within_an_hour_than_the_setting_says(tmp_path, monkeypatch):
    bench = await Bench(tmp_path, forgetting=forgetting.ForgettingLimits(an_hour=2)).start()
    try:
        keys = [await bench.key() for _ in range(4)]
        await forget(bench, keys[0])
        await bench.client.keep(keys[0].tenant_id, keys[0].key_id)
        await forget(bench, keys[1])
        with pytest.raises(TooManyForgets):
            await forget(bench, keys[2])
        assert await refusals(bench, keys[2]) == [("forget", "too-many-forgets")]
        later(monkeypatch, 3601)
        await forget(bench, keys[3])
    finally:
        await bench.stop()


async def test_a_half_that_was_never_in_use_is_withdrawn_at_once_and_leaves_no_trace(bench):
    key = await bench.key(register=False)
    (sealed,) = await stored(bench, key)
    assert files_with(bench, sealed)
    await bench.client.withdraw(key.tenant_id, key.key_id, bytes.fromhex(key.hsm.cosigner_public_key))
    assert await state(bench, key) == "forgotten"
    assert files_with(bench, sealed) == []


async def test_what_was_forgotten_is_in_none_of_the_three_files(bench, monkeypatch):
    key = await bench.key()
    (sealed,) = await stored(bench, key)
    await forget(bench, key)
    assert files_with(bench, sealed)
    later(monkeypatch, 31 * DAY)
    await bench.cosigner.clock.tick()
    assert files_with(bench, sealed) == []


async def test_a_reader_that_is_in_the_way_only_puts_the_cut_off(bench, monkeypatch):
    key = await bench.key()
    (sealed,) = await stored(bench, key)
    reading = read_only(bench.folder / "b.sqlite3")
    reading.execute("BEGIN")
    reading.execute("SELECT count(*) FROM cosigner_half").fetchone()
    await forget(bench, key)
    later(monkeypatch, 31 * DAY)
    await bench.cosigner.clock.tick()
    assert files_with(bench, sealed)
    reading.close()
    bench.store._truncate_after = 0.0
    await bench.cosigner.clock.tick()
    assert files_with(bench, sealed) == []


async def test_one_that_cannot_be_ended_holds_up_no_other(bench, monkeypatch):
    keys = [await bench.key() for _ in range(2)]
    for key in keys:
        await forget(bench, key)
    later(monkeypatch, 31 * DAY)
    clock, known = bench.cosigner.clock, {keys[0].key_id}

    async def stored_unless(key_id):
        if key_id in known:
            raise CosignerRefusalError(RefusalCode.BUSY)
        return await real(key_id)

    real = clock._repository.stored
    monkeypatch.setattr(clock._repository, "stored", stored_unless)
    await clock.tick()
    assert [await state(bench, key) for key in keys] == ["forgetting", "forgotten"]
