"""The small parts: buckets, memory, queues, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from bunker.relays.filters import parse_filter
from bunker.relays.health_score import RelayMeasurements
from bunker.relays.limits import BuiltInLimits
from bunker.relays.outbox import Outbox
from bunker.relays.pending import shortened
from bunker.relays.reply_cache import RecentEvents
from keycast.nostr.nip01 import serialize
from tests.bunker.relays.support import CLIENT, STRANGER, Clock, reply


def test_the_memory_is_bounded_by_bytes() -> None:
    memory = RecentEvents(60, 1_000, 3_500, Clock())
    for number in range(10):
        event = reply(content=f"{number}" + "x" * 600)
        memory.add(event, CLIENT.public_key_hex, serialize(event))
    assert len(memory) == 3
    wanted = parse_filter({"#p": [CLIENT.public_key_hex]}, BuiltInLimits())
    assert len(memory.find(wanted, 10)[0]) == 3


def test_the_memory_looks_at_the_latest_of_all_keys_first_and_at_no_more_than_it_may() -> None:
    clock = Clock()
    memory = RecentEvents(60, 1_000, 10**6, clock)
    loud, quiet = CLIENT.public_key_hex, STRANGER.public_key_hex
    for number in range(20):
        clock.now += 1
        to = quiet if number == 18 else loud
        event = reply(to=to, content=str(number), at=1_800_000_000 + number)
        memory.add(event, to, serialize(event))
    wanted = parse_filter({"#p": [loud, quiet, "0" * 64]}, BuiltInLimits())
    found, looked_at = memory.find(wanted, 5)
    assert looked_at == 5
    assert [item.event.content for item in found] == ["19", "18", "17", "16", "15"]
    assert memory.find(wanted, 0) == ([], 0)


def test_limits_come_from_settings_and_a_wrong_name_is_an_error(settings: Any) -> None:
    settings.RELAY_LIMITS = {"connections": 5}
    assert BuiltInLimits.from_settings().connections == 5
    settings.RELAY_LIMITS = {"conections": 5}
    with pytest.raises(ImproperlyConfigured):
        BuiltInLimits.from_settings()


async def test_an_outbox_sends_lazy_frames_with_the_next_that_is_not() -> None:
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["text"])

    outbox = Outbox(send, 10, 100)
    task = asyncio.create_task(outbox.run())
    outbox.put(b"lazy", lazy=True)
    await asyncio.sleep(0.01)
    assert sent == []
    outbox.put(b"now")
    await asyncio.sleep(0.01)
    assert sent == ["lazy", "now"]
    outbox.put(b"later", lazy=True)
    outbox.flush()
    await asyncio.sleep(0.01)
    assert sent[2:] == ["later"]
    task.cancel()


@pytest.mark.parametrize(("frames", "size"), [(3, 1), (1, 101)])
async def test_an_outbox_that_overflows_keeps_nothing(frames: int, size: int) -> None:
    outbox, told = Outbox(lambda message: asyncio.sleep(0), 2, 100), []
    outbox.on_overflow = lambda: told.append(True)
    for _ in range(frames + 1):
        outbox.put(b"x" * size)
    assert outbox.is_overflown
    assert len(outbox) == 0
    assert told == [True]


def test_a_score_prefers_what_works_and_answers_fast() -> None:
    from bunker.relays.interfaces import RelayStatus

    good, slow, bad = RelayMeasurements(), RelayMeasurements(), RelayMeasurements()
    for vitals in (good, slow, bad):
        vitals.status = RelayStatus.LIVE
    for _ in range(10):
        good.ok(0.05)
        slow.ok(2.0)
        bad.refusal()
    assert good.score > slow.score > bad.score
    good.status = RelayStatus.REFUSED
    assert good.score == 0.0


def test_a_relays_words_are_made_harmless() -> None:
    assert shortened("no\r\n\x1b[31m\u202eway" + "x" * 500) == "no???[31m?way" + "x" * 107
