"""What a client accepts from a bunker, and how it says that something is wrong."""

from __future__ import annotations

import asyncio
import json

import pytest

from keycast.nostr.client import (
    BadAnswer,
    BadBunkerUrl,
    BunkerClient,
    BunkerRefused,
    NoAnswer,
    RelaysRefused,
    RelaysUnreachable,
    identity,
)

NOTE = {"kind": 1, "content": "hello 🫂", "tags": [["t", "x"]], "created_at": 1_700_000_000}
CLOSED_PORT = "ws://127.0.0.1:9"


@pytest.mark.parametrize("url", ["", "bunker://", "https://example.com", "bunker://" + "0" * 64 + "?relay=ws://x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(BadBunkerUrl):
        BunkerClient(url)


async def test_a_relay_that_cannot_be_reached_is_named(bunker):
    with pytest.raises(RelaysUnreachable, match=r"127\.0\.0\.1:9"):
        async with BunkerClient(bunker.bunker_url(CLOSED_PORT), timeout=0.5):
            pass


async def test_silence_ends_in_a_plain_error(bunker):
    bunker.script["ping"] = lambda params: None
    async with BunkerClient(bunker.bunker_url(), timeout=0.3) as client:
        with pytest.raises(NoAnswer):
            await client.ping()


async def test_the_bunkers_own_words_are_passed_on(bunker):
    bunker.script["sign_event"] = lambda params: {"error": "kind 1 is not in this app's policy"}
    async with BunkerClient(bunker.bunker_url()) as client:
        with pytest.raises(BunkerRefused, match="kind 1 is not in this app's policy"):
            await client.sign_event(NOTE)


async def test_a_relay_that_refuses_the_event_is_heard(bunker):
    bunker.refuse_events_with = "rate-limited: slow down"
    async with BunkerClient(bunker.bunker_url()) as client:
        with pytest.raises(RelaysRefused, match="slow down"):
            await client.ping()


async def test_a_reply_of_another_author_is_ignored(bunker):
    bunker.author = identity.fresh()
    async with BunkerClient(bunker.bunker_url(), timeout=0.3) as client:
        with pytest.raises(NoAnswer):
            await client.ping()


async def test_a_reply_to_another_question_is_ignored(bunker):
    bunker.before_reply = lambda reply: [{**reply, "id": "other"}, {"id": 7, "result": "pong"}, "text", reply]
    async with BunkerClient(bunker.bunker_url()) as client:
        await client.ping()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"content": "something else"}, "content"),
        ({"kind": 4}, "kind"),
        ({"tags": []}, "tags"),
        ({"created_at": 1}, "created_at"),
    ],
)
async def test_another_event_than_the_one_asked_for_is_not_accepted(bunker, change, complaint):
    bunker.script["sign_event"] = lambda params: {"result": bunker.signed({**json.loads(params[0]), **change})}
    async with BunkerClient(bunker.bunker_url()) as client:
        with pytest.raises(BadAnswer, match=complaint):
            await client.sign_event(NOTE)


async def test_a_signature_that_does_not_verify_is_not_accepted(bunker):
    def forge(params):
        event = json.loads(bunker.signed(json.loads(params[0])))
        return {"result": json.dumps({**event, "sig": "00" * 64})}

    bunker.script["sign_event"] = forge
    async with BunkerClient(bunker.bunker_url()) as client:
        with pytest.raises(BadAnswer, match="does not verify"):
            await client.sign_event(NOTE)


async def test_another_signer_than_the_bunkers_user_is_not_accepted(bunker):
    bunker.script["get_public_key"] = lambda params: {"result": "ab" * 32}
    async with BunkerClient(bunker.bunker_url()) as client:
        await client.get_public_key()
        with pytest.raises(BadAnswer, match="another key"):
            await client.sign_event(NOTE)


async def test_pairing_must_be_acknowledged(bunker):
    bunker.script["connect"] = lambda params: {"result": "sure"}
    async with BunkerClient(bunker.bunker_url()) as client:
        with pytest.raises(BadAnswer):
            await client.connect()


async def test_it_pairs_pings_and_gets_a_note_signed(bunker):
    async with BunkerClient(bunker.bunker_url()) as client:
        await client.connect(permissions="sign_event:1", metadata={"name": "test"})
        await client.ping()
        assert await client.get_public_key() == bunker.user.public_key_hex
        event = await client.sign_event(NOTE)
    assert event.pubkey == bunker.user.public_key_hex
    assert bunker.requests[0][1][2:] == ["sign_event:1", '{"name": "test"}']


async def test_an_approval_address_is_surfaced_and_the_answer_awaited(bunker):
    async def ask_first(params):
        return {"result": "auth_url", "error": "https://bunker.example/approve/1"}

    bunker.script["ping"] = ask_first
    seen: list[str] = []
    bunker.before_reply = lambda reply: [reply, {"id": reply["id"], "result": "pong"}]
    async with BunkerClient(bunker.bunker_url(), on_auth_url=seen.append) as client:
        await client.ping()
    assert seen == ["https://bunker.example/approve/1"]


async def test_a_relay_that_wants_nip42_gets_it(bunker):
    bunker.wants_auth = True
    async with BunkerClient(bunker.bunker_url(), timeout=3) as client:
        await client.ping()


async def test_a_request_survives_a_lost_connection(bunker):
    bunker.drop_after_first_event = True
    async with BunkerClient(bunker.bunker_url(), timeout=5) as client:
        await client.ping()
    assert [method for method, _ in bunker.requests] == ["ping"]


async def test_one_dead_relay_does_not_matter(bunker):
    async with BunkerClient(bunker.bunker_url(CLOSED_PORT, bunker.url), timeout=5) as client:
        await client.ping()


async def test_questions_asked_at_once_get_their_own_answers(bunker):
    async with BunkerClient(bunker.bunker_url()) as client:
        notes = [{**NOTE, "content": str(number)} for number in range(20)]
        signed = await asyncio.gather(*(client.sign_event(note) for note in notes))
    assert [event.content for event in signed] == [note["content"] for note in notes]
