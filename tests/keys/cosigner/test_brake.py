"""The brake: what is stopped, over its budget or of another kind is not signed. Signer A lifts none of it."""

from __future__ import annotations

import json
import sqlite3

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.cosigner import operator_commands as operator
from keys.cosigner.audit import CosignerAuditTag, verify
from keys.cosigner.brake import ALWAYS, UNUSUAL_FROM, USES, CosignerBrake
from keys.cosigner.brake_rules import (
    EVERY_KEY,
    EVERYTHING,
    BrakeDefaults,
    UnreadableKindsError,
    key_scope,
    kinds,
    tenant_scope,
)
from keys.cosigner.operator_commands import OperatorCommandError
from keys.errors import KeyLocked
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import CosignerBudgetReached, KindNotAllowedByCosigner, StoppedByCosigner
from tests.keys.cosigner.support import Bench, grant, half_a, note

DAY = 86_400


class Clock:
    """The co-signer's time, by hand."""

    def __init__(self):
        self.now = 20_000 * DAY + 60.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def bench(tmp_path, clock):
    bench = Bench(tmp_path)
    bench.brake = CosignerBrake(clock=clock)
    await bench.start()
    yield bench
    await bench.stop()


def database(bench):
    return bench.folder / "b.sqlite3"


def rows(bench, tag):
    with sqlite3.connect(database(bench)) as connection:
        found = connection.execute("SELECT key_id, data FROM audit_auditrow WHERE tag = ? ORDER BY sequence", (tag,))
        found = [(key, json.loads(data)) for key, data in found]
        assert verify(connection).fault == ""
    connection.close()
    return found


async def sign(bench, key, content="hello"):
    return await bench.signer.sign_event_id(key, note(key, content), id_of(note(key, content)))


async def opened(bench, key):
    """One ECDH contribution."""
    peer = bytes.fromhex(Keypair.generate()[0].public_key_hex)
    given = grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer)
    with await bench.client.ecdh(key.tenant_id, key.key_id, half_a(key), peer, given) as point:
        return point


async def enable(bench, key):
    given = grant(bench.hsm, key, AuthorisationPurpose.ENABLE, bytes.fromhex(key.public_key))
    await bench.client.enable(key.tenant_id, key.key_id, given)


SCOPES = {
    "key": lambda key: key_scope(key.key_id),
    "tenant": lambda key: tenant_scope(key.tenant_id),
    "all": lambda key: EVERYTHING,
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
async def test_what_the_operator_stopped_is_used_for_nothing_and_enabled_by_nobody_else(bench, scope):
    key = await bench.key()
    await sign(bench, key)
    operator.stop(database(bench), scope(key), "a reason")
    with pytest.raises(StoppedByCosigner):
        await sign(bench, key, "again")
    with pytest.raises(StoppedByCosigner):
        await opened(bench, key)
    # Signer A may stop it too, and undo its own stop, but not the operator's.
    await bench.client.lock(key.tenant_id, key.key_id)
    with pytest.raises(StoppedByCosigner):
        await enable(bench, key)
    with pytest.raises(KeyLocked):
        await sign(bench, key, "and again")
    reasons = {(data["request"], data["reason"]) for _, data in rows(bench, "cosigner:request:refused")}
    assert {(asked, "stopped-by-operator") for asked in ("sign", "ecdh", "enable")} <= reasons
    operator.resume(database(bench), scope(key), "looked at")
    await enable(bench, key)
    await sign(bench, key, "and again")
    assert [tag for tag in ("stopped", "resumed") if len(rows(bench, f"cosigner:operator:{tag}")) == 1] == [
        "stopped",
        "resumed",
    ]


async def test_a_stop_of_a_key_or_a_tenant_leaves_the_others_alone(bench):
    stopped, neighbour, other = await bench.key(), await bench.key(), await bench.key()
    operator.stop(database(bench), key_scope(stopped.key_id), "one")
    operator.stop(database(bench), tenant_scope(other.tenant_id), "a tenant")
    await sign(bench, neighbour)
    for key in (stopped, other):
        with pytest.raises(StoppedByCosigner):
            await sign(bench, key)


async def test_while_everything_is_stopped_no_key_comes_to_be(bench):
    operator.stop(database(bench), EVERYTHING, "everything")
    with pytest.raises(StoppedByCosigner):
        await bench.key()


async def test_a_stop_outlives_the_process(tmp_path):
    first = await Bench(tmp_path).start()
    key = await first.key()
    await first.stop()
    operator.stop(tmp_path / "b.sqlite3", key_scope(key.key_id), "while nobody serves")
    second = Bench(tmp_path)
    second.hsm = first.hsm
    second.signer = second.new_signer()
    await second.start()
    with pytest.raises(StoppedByCosigner):
        await sign(second, key)
    await second.stop()


async def test_the_brake_holds_for_every_row_but_those_that_take_power_away(bench):
    held_back = set(CosignerAuditTag) - ALWAYS
    assert set(USES) <= held_back
    assert {
        CosignerAuditTag.ENABLED,
        CosignerAuditTag.AUTHORISER_SUCCEEDED,
        CosignerAuditTag.REFRESH_PREPARED,
    } <= held_back


async def test_what_is_not_there_is_not_stopped(bench):
    key = await bench.key()
    for scope in (key_scope(key.tenant_id), tenant_scope(key.key_id)):
        with pytest.raises(OperatorCommandError):
            operator.stop(database(bench), scope, "mistyped")
    with pytest.raises(OperatorCommandError):
        operator.resume(database(bench), EVERYTHING, "was not")


@pytest.mark.parametrize("scope", [EVERY_KEY, None], ids=["every key", "this key"])
async def test_beyond_its_budget_a_key_signs_no_more_until_the_next_day(bench, clock, scope):
    key = await bench.key()
    operator.limit(database(bench), scope or key_scope(key.key_id), {"signatures": "2"}, "careful")
    for content in "ab":
        await sign(bench, key, content)
    for content in "cde":
        with pytest.raises(CosignerBudgetReached):
            await sign(bench, key, content)
    await opened(bench, key)  # a budget of its own
    named = {"scope": f"key:{key.key_id.hex}", "use": "signatures", "budget": 2}
    assert rows(bench, "cosigner:budget:reached") == [(key.key_id.hex, named)], "once a day, however often it is asked"
    clock.now += DAY
    await sign(bench, key, "c")


async def test_a_tenants_budget_is_for_all_its_keys_and_each_opening_counts(bench):
    one = await bench.key()
    other = await bench.key(tenant_id=one.tenant_id)
    operator.limit(database(bench), tenant_scope(one.tenant_id), {"openings": "1"}, "careful")
    await opened(bench, one)
    with pytest.raises(CosignerBudgetReached):
        await opened(bench, other)


async def test_what_was_used_is_counted_on_after_a_restart(tmp_path, clock):
    defaults = BrakeDefaults(key_signatures=3)
    first = Bench(tmp_path)
    first.brake = CosignerBrake(defaults, clock)
    await first.start()
    key = await first.key()
    for content in "ab":
        await sign(first, key, content)
    await first.stop()
    second = Bench(tmp_path)
    second.brake, second.hsm = CosignerBrake(defaults, clock), first.hsm
    second.signer = second.new_signer()
    await second.start()
    await sign(second, key, "c")
    with pytest.raises(CosignerBudgetReached):
        await sign(second, key, "d")
    await second.stop()


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
async def test_a_kind_that_is_not_allowed_is_not_signed(bench, scope):
    key = await bench.key()
    operator.limit(database(bench), scope(key), {"kinds": "0,7,10000-19999"}, "no notes")
    with pytest.raises(KindNotAllowedByCosigner):
        await sign(bench, key)
    assert rows(bench, "cosigner:request:refused")[-1][1]["reason"] == "kind-not-allowed"
    operator.limit(database(bench), scope(key), {"kinds": "0-9"}, "notes after all")
    await sign(bench, key)


async def test_the_kinds_of_the_settings_and_of_a_key_must_both_allow(tmp_path):
    bench = Bench(tmp_path)
    bench.brake = CosignerBrake(BrakeDefaults(kinds="1-9"))
    await bench.start()
    key = await bench.key()
    await sign(bench, key)
    operator.limit(database(bench), key_scope(key.key_id), {"kinds": "10-20"}, "nothing is left")
    with pytest.raises(KindNotAllowedByCosigner):
        await sign(bench, key)
    await bench.stop()


@pytest.mark.parametrize("text", ["", ",", "x", "1-", "7-3", "65536", "-1", "1,,b"])
def test_kinds_that_cannot_be_read_are_refused(text):
    with pytest.raises(UnreadableKindsError):
        kinds(text)


async def test_many_more_uses_than_in_the_week_before_are_in_the_log_once_a_day(bench, clock, monkeypatch):
    key = await bench.key()
    day = int(clock.now) // DAY
    with sqlite3.connect(database(bench)) as connection:
        connection.executemany(
            "INSERT INTO cosigner_spent VALUES (?, 'signatures', ?, ?, 0)",
            [(key.key_id.bytes, day - back, 70) for back in range(1, 8)] + [(key.key_id.bytes, day, 10 * 70 - 2)],
        )
    connection.close()
    await sign(bench, key, "one")
    assert rows(bench, "cosigner:rate:unusual") == []
    for content in "abc":
        await sign(bench, key, content)
    assert UNUSUAL_FROM < 10 * 70
    (found,) = rows(bench, "cosigner:rate:unusual")
    assert found == (key.key_id.hex, {"scope": f"key:{key.key_id.hex}", "use": "signatures", "count": 700})


async def test_refusals_of_what_is_stopped_are_written_once_a_minute_and_counted(bench):
    key = await bench.key()
    operator.stop(database(bench), key_scope(key.key_id), "a reason")
    for content in "abcd":
        with pytest.raises(StoppedByCosigner):
            await sign(bench, key, content)
    assert len(rows(bench, "cosigner:request:refused")) == 1
    assert bench.cosigner.refusals["stopped-by-operator"] == 4
