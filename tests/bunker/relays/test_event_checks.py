"""Steps 1-6 of the order of checks, refusals first."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bunker.relays.event_checks import Intake, IntakeSource, NoServedKeys, claimed_id
from bunker.relays.interfaces import DropReason
from bunker.relays.limits import IntakeLimits
from keycast.base.seen_ids import SeenIds
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of, serialize
from tests.bunker.relays.support import (
    CLIENT,
    OTHER_SIGNER,
    OTHER_TENANT,
    SIGNER,
    STRANGER,
    TENANT,
    Clock,
    Served,
    Sink,
    reply,
    signed,
)

NOW = time.time()


@pytest.fixture
def intake() -> Intake:
    return Intake(Served(), now=lambda: NOW)


@pytest.fixture
def lane(intake: Intake) -> IntakeSource:
    return intake.lane("wss://relay.example.com")


def outcome(intake: Intake, lane: IntakeSource, event: Event | bytes) -> DropReason | None:
    raw = event if isinstance(event, bytes) else serialize(event)
    return intake.admit(raw, lane)[1]


def test_it_drops_an_event_that_is_too_large_before_parsing(
    intake: Intake, lane: IntakeSource, monkeypatch: Any
) -> None:
    monkeypatch.setattr("bunker.relays.event_checks.parse_event", lambda raw: pytest.fail("parsed"))
    assert outcome(intake, lane, b"x" * (intake.limits.frame_bytes + 1)) is DropReason.TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b"null", b"[" * 20_000, b'{"id":NaN}', b"\xff\xfe", b'{"id":"\xed\xa0\x80"}', b"1" * 5000],
)
def test_it_drops_what_is_not_an_event(intake: Intake, lane: IntakeSource, raw: bytes) -> None:
    assert outcome(intake, lane, raw) is DropReason.MALFORMED


def test_it_drops_an_event_with_a_key_twice(intake: Intake, lane: IntakeSource) -> None:
    raw = serialize(signed(at=NOW))
    assert outcome(intake, lane, raw.replace(b'"kind":24133', b'"kind":24133,"kind":24133')) is DropReason.MALFORMED


def test_it_drops_another_kind(intake: Intake, lane: IntakeSource) -> None:
    assert outcome(intake, lane, signed(kind=1, at=NOW)) is DropReason.WRONG_KIND


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [["p"]],
        [["e", SIGNER.public_key_hex]],
        [["p", SIGNER.public_key_hex], ["p", SIGNER.public_key_hex]],
        [["p", SIGNER.public_key_hex], ["p"]],
    ],
)
def test_it_drops_an_event_without_exactly_one_recipient(
    intake: Intake, lane: IntakeSource, tags: list[list[str]]
) -> None:
    assert outcome(intake, lane, signed(tags=tags, at=NOW)) is DropReason.WRONG_RECIPIENT


@pytest.mark.parametrize("recipient", [STRANGER.public_key_hex, SIGNER.public_key_hex.upper(), "", "p" * 64])
def test_it_drops_an_event_for_a_key_that_is_not_served(intake: Intake, lane: IntakeSource, recipient: str) -> None:
    assert outcome(intake, lane, signed(to=recipient, at=NOW)) is DropReason.NOT_SERVED


def test_it_drops_everything_while_nobody_is_served() -> None:
    intake = Intake(NoServedKeys(), now=lambda: NOW)
    assert outcome(intake, intake.lane("r"), signed(at=NOW)) is DropReason.NOT_SERVED


def test_it_drops_an_event_for_a_signer_of_another_tenant(intake: Intake, lane: IntakeSource) -> None:
    scoped = IntakeSource("built-in", lane.budget, OTHER_TENANT, takes_replies=True)
    assert outcome(intake, scoped, signed(at=NOW)) is DropReason.NOT_SERVED
    assert outcome(intake, IntakeSource("built-in", lane.budget, TENANT), signed(at=NOW)) is None


def test_it_drops_our_own_replies_that_an_outbound_relay_echoes(intake: Intake, lane: IntakeSource) -> None:
    assert outcome(intake, lane, reply(at=NOW)) is DropReason.NOT_SERVED


def test_it_drops_an_event_for_a_key_that_this_relay_was_not_asked_about(intake: Intake, lane: IntakeSource) -> None:
    lane.wanted = {SIGNER.public_key_hex}
    assert outcome(intake, lane, signed(to=OTHER_SIGNER, at=NOW)) is DropReason.UNASKED


@pytest.mark.parametrize("age", [301, 86_400, -301, -3600, pytest.param(NOW - 2**53 + 1, id="far future")])
def test_it_drops_an_event_that_is_not_of_the_present(intake: Intake, lane: IntakeSource, age: float) -> None:
    assert outcome(intake, lane, signed(at=NOW - age)) is DropReason.STALE


@pytest.mark.parametrize("age", [0, 60, -60, 299, -299])
def test_it_takes_an_event_that_is_a_little_off(intake: Intake, lane: IntakeSource, age: float) -> None:
    assert outcome(intake, lane, signed(at=NOW - age)) is None


@pytest.mark.compliance(spec="NIP-40", section="Relay Behavior", requirement="expired events are not processed")
@pytest.mark.parametrize("expiration", [pytest.param(str(int(NOW) - 1), id="just-now"), "0", "soon", ""])
def test_it_drops_an_expired_event(intake: Intake, lane: IntakeSource, expiration: str) -> None:
    tags = [["p", SIGNER.public_key_hex], ["expiration", expiration]]
    assert outcome(intake, lane, signed(tags=tags, at=NOW)) is DropReason.EXPIRED


def test_it_drops_an_event_whose_content_was_changed(intake: Intake, lane: IntakeSource) -> None:
    assert outcome(intake, lane, msgspec.structs.replace(signed(at=NOW), content="other")) is DropReason.BAD_ID


def test_it_drops_an_event_with_a_claimed_author(intake: Intake, lane: IntakeSource) -> None:
    true = signed(at=NOW)
    forged = UnsignedEvent(STRANGER.public_key_hex, true.created_at, true.kind, true.tags, true.content)
    event = Event(id_of(forged).hex(), forged.pubkey, forged.created_at, 24133, forged.tags, forged.content, true.sig)
    assert outcome(intake, lane, event) is DropReason.BAD_SIGNATURE


@pytest.mark.compliance(spec="NIP-01", section="Events and signatures", requirement="ids are 64 lower-case hex digits")
def test_it_drops_an_id_in_capitals(intake: Intake, lane: IntakeSource) -> None:
    true = signed(at=NOW)
    assert outcome(intake, lane, msgspec.structs.replace(true, id=true.id.upper())) is DropReason.MALFORMED


def test_a_forged_copy_that_comes_first_does_not_block_the_true_event(intake: Intake, lane: IntakeSource) -> None:
    true, sink = signed(at=NOW), Sink()
    for forged in (msgspec.structs.replace(true, content="x"), msgspec.structs.replace(true, sig="0" * 128)):
        assert outcome(intake, lane, forged) in {DropReason.BAD_ID, DropReason.BAD_SIGNATURE}
    event, reason = intake.admit(serialize(true), lane)
    assert (event, reason) == (true, None)
    assert intake.hand_over(true, serialize(true), lane, sink) is None
    assert sink.ids == [true.id]


def test_it_drops_an_event_that_was_handed_over_whatever_relay_brings_it_again(
    intake: Intake, lane: IntakeSource
) -> None:
    event, sink = signed(at=NOW), Sink()
    assert outcome(intake, lane, event) is None
    intake.hand_over(event, serialize(event), lane, sink)
    assert outcome(intake, intake.lane("wss://other.example.com"), event) is DropReason.DUPLICATE


@pytest.mark.parametrize("verdict", [DropReason.BUSY, DropReason.RATE_LIMITED])
def test_an_event_that_the_worker_could_not_take_may_come_again(
    intake: Intake, lane: IntakeSource, verdict: DropReason
) -> None:
    event = signed(at=NOW)
    assert intake.hand_over(event, serialize(event), lane, Sink(verdict)) is verdict
    assert outcome(intake, lane, event) is None


def test_an_event_that_could_not_be_claimed_may_come_again(intake: Intake, lane: IntakeSource) -> None:
    event = signed(at=NOW)
    intake.hand_over(event, serialize(event), lane, Sink())
    intake.forget(event.id)
    assert outcome(intake, lane, event) is None


def test_one_relays_flood_leaves_the_others_their_budget() -> None:
    clock = Clock()
    limits = IntakeLimits(verifications=10, relay_verifications=3)
    intake = Intake(Served(), limits, now=lambda: NOW, clock=clock)
    loud, quiet = intake.lane("loud"), intake.lane("quiet")
    found = [outcome(intake, loud, signed(content=str(number), at=NOW)) for number in range(20)]
    assert found == [None] * 3 + [DropReason.OVER_BUDGET] * 17
    assert outcome(intake, quiet, signed(at=NOW)) is None
    clock.now += 1
    assert outcome(intake, loud, signed(content="later", at=NOW)) is None


def test_all_relays_together_stay_within_the_common_budget() -> None:
    intake = Intake(Served(), IntakeLimits(verifications=2, relay_verifications=2), now=lambda: NOW, clock=Clock())
    found = [outcome(intake, intake.lane(str(number)), signed(content=str(number), at=NOW)) for number in range(4)]
    assert found == [None, None, DropReason.OVER_BUDGET, DropReason.OVER_BUDGET]


def test_what_is_refused_cheaply_costs_no_budget() -> None:
    intake = Intake(Served(), IntakeLimits(verifications=1), now=lambda: NOW, clock=Clock())
    lane = intake.lane("r")
    for _ in range(5):
        outcome(intake, lane, signed(at=NOW - 1000))
        outcome(intake, lane, signed(to=STRANGER, at=NOW))
    assert outcome(intake, lane, signed(at=NOW)) is None


def test_it_verifies_an_event_once(intake: Intake, lane: IntakeSource, monkeypatch: Any) -> None:
    calls = []
    monkeypatch.setattr("bunker.relays.event_checks.schnorr.verify", lambda *parts: calls.append(parts) or True)
    event, sink = signed(at=NOW), Sink()
    for _ in range(3):
        if outcome(intake, lane, event) is None:
            intake.hand_over(event, serialize(event), lane, sink)
    assert len(calls) == len(sink.taken) == 1


def test_it_counts_drops_by_relay_and_reason_and_forgets_a_relay(intake: Intake, lane: IntakeSource) -> None:
    for event in (signed(at=NOW - 999), signed(at=NOW - 999), signed(kind=1, at=NOW), signed(at=NOW)):
        outcome(intake, lane, event)
    assert intake.counters.drops_of(lane.relay) == {"stale": 2, "wrong-kind": 1}
    assert intake.counters.accepted[lane.relay] == 1
    intake.counters.forget_relay(lane.relay)
    assert intake.counters.drops_of(lane.relay) == {}


def test_the_memory_of_ids_is_bounded_in_number_and_time() -> None:
    clock = Clock()
    seen = SeenIds(3, 10, clock)
    for number in range(5):
        seen.add(str(number))
    assert [str(number) in seen for number in range(5)] == [False, False, True, True, True]
    clock.now += 10
    assert "4" not in seen
    seen.add("new")
    assert len(seen) == 1


def test_the_memory_outlasts_freshness() -> None:
    limits = IntakeLimits()
    assert limits.seen_seconds > 2 * limits.freshness


def test_it_finds_the_id_a_malformed_event_claims() -> None:
    assert claimed_id(b'{"id": "' + b"a" * 64 + b'", "kind": true}') == "a" * 64
    assert claimed_id(b'{"id":"' + b"A" * 64 + b'"}') is None


def test_it_finds_the_id_after_a_long_content_as_javascript_writes_it() -> None:
    long = b'{"kind":true,"content":"' + b'\\"id\\":\\"' + b"b" * 64 + b"x" * 9_000 + b'","pubkey":"' + b"c" * 64
    assert claimed_id(long + b'","id":"' + b"a" * 64 + b'","sig":"' + b"d" * 128 + b'"}') == "a" * 64
    assert claimed_id(long + b'"}') is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": 1}, DropReason.WRONG_KIND),
        ({"kind": 1, "tags": [["t", "x"]] * 5_000}, DropReason.WRONG_KIND),
        ({"tags": [["p", SIGNER.public_key_hex]] * 2}, DropReason.WRONG_RECIPIENT),
        ({"tags": [["p", SIGNER.public_key_hex], ["t", "x" * 5_000]]}, DropReason.TOO_LARGE),
        ({"to": STRANGER}, DropReason.NOT_SERVED),
        ({"at": NOW - 301}, DropReason.STALE),
    ],
)
def test_it_refuses_a_long_event_without_parsing_its_content(
    intake: Intake, lane: IntakeSource, monkeypatch: Any, changes: dict[str, Any], reason: DropReason
) -> None:
    event = signed(**{"content": "x" * 20_000, "at": NOW, **changes})
    monkeypatch.setattr("bunker.relays.event_checks.parse_event", lambda raw: pytest.fail("parsed"))
    assert outcome(intake, lane, event) is reason


@pytest.mark.parametrize("raw", [b'{"content":"' + b"x" * 9_000, b'{"id":"' + b"x" * 9_000 + b'"}', b" " * 9_000])
def test_it_drops_what_is_long_and_no_event(intake: Intake, lane: IntakeSource, raw: bytes) -> None:
    assert outcome(intake, lane, raw) is DropReason.MALFORMED


def test_it_takes_a_long_event_and_knows_it_again_whole(intake: Intake, lane: IntakeSource) -> None:
    event = signed(content="x" * 600_000, at=NOW)
    assert intake.admit(serialize(event), lane) == (event, None)
    intake.remember(event.id)
    assert intake.admit(serialize(event), lane) == (event, DropReason.DUPLICATE)
    twice = serialize(event).replace(b'"kind":24133', b'"kind":24133,"kind":24133')
    assert outcome(intake, lane, twice) is DropReason.MALFORMED


def test_the_author_is_only_trusted_after_verification(intake: Intake, lane: IntakeSource) -> None:
    """A budget per claimed author would let anybody starve a victim: there is none."""
    victim = signed(CLIENT, at=NOW)
    for number in range(50):
        outcome(intake, lane, replace_content(victim, str(number)))
    assert outcome(intake, lane, victim) is None


def replace_content(event: Event, content: str) -> Event:
    return msgspec.structs.replace(event, content=content)


def test_limits_can_be_replaced_one_by_one() -> None:
    assert replace(IntakeLimits(), freshness=60).frame_bytes == IntakeLimits().frame_bytes
