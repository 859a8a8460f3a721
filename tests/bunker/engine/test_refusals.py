"""What the engine refuses, how it says so, and what it writes down (threats C1, C7, C9, C11, C12, C14, C18)."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.services import lock_user, suspend_tenant
from bunker import services
from bunker.models import Connection, Request
from bunker.worker.admission import AdmissionLimits
from bunker.worker.engine import NOT_CONNECTED
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.nostr import nip04
from keycast.nostr.nip01 import UnsignedEvent, id_of, parse_event, serialize, verify_event
from keys import services as key_services
from tests.bunker.conftest import Running, connected
from tests.bunker.support import ACTOR, Client, Home, issue, make_home, next_look, regrant, unscoped


def rows(**wanted: Any) -> list[AuditRow]:
    return list(AuditRow.objects.filter(**wanted).order_by("id"))


async def connection_of(home: Home, client: Client) -> Connection:
    def find() -> Connection:
        with unscoped():
            return Connection.objects.get(key=home.key, client_public_key=client.public_key)

    return await sync_to_async(find)()


async def test_a_stranger_hears_that_it_is_not_connected_and_causes_no_write(worker: Running, home: Home) -> None:
    await connected(worker, home)
    stranger = Client(worker[1], home.transport.public_key)
    before = await Request.objects.acount(), await AuditRow.objects.acount()
    for method in ("ping", "get_public_key", "logout", "switch_relays", "sign_event"):
        worker[1].send(stranger.compose(method, ["{}"])[1])
        assert (await stranger.next())["error"] == NOT_CONNECTED
    assert (await Request.objects.acount(), await AuditRow.objects.acount()) == before


async def test_a_stranger_who_only_pings_hears_the_same_while_pairing_is_open(worker: Running, home: Home) -> None:
    await sync_to_async(issue)(home)
    await worker[0].reconciler.look()
    stranger = Client(worker[1], home.transport.public_key)
    worker[1].send(stranger.compose("ping", [])[1])
    assert (await stranger.next())["error"] == NOT_CONNECTED
    assert worker[0].stats.drops["stranger"] == 1


async def test_a_second_app_hears_that_a_bunker_url_is_used(worker: Running, home: Home) -> None:
    _, secret = await sync_to_async(issue)(home)
    await worker[0].reconciler.look()
    first, second = (Client(worker[1], home.transport.public_key) for _ in range(2))
    assert (await first.ask("connect", home.transport.public_key, secret))["result"] == "ack"
    before = await AuditRow.objects.acount()
    answer = await second.ask("connect", home.transport.public_key, secret)
    assert "used or expired" in answer["error"]
    assert await AuditRow.objects.acount() == before


async def test_a_url_made_a_moment_ago_works_before_the_worker_has_heard_of_it(worker: Running, home: Home) -> None:
    await connected(worker, home)
    _, secret = await sync_to_async(issue)(home)
    newcomer = Client(worker[1], home.transport.public_key)
    answer = await newcomer.ask("connect", home.transport.public_key, secret)
    assert answer["result"] == "ack"


async def test_strangers_are_answered_seldom_where_no_app_is_waited_for(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    limits = AdmissionLimits()
    strangers = [Client(worker[1], home.transport.public_key) for _ in range(int(limits.signer_stranger_burst) + 20)]
    for stranger in strangers:
        worker[1].send(stranger.compose("connect", [home.transport.public_key, "00" * 16])[1])
    assert (await client.ask("ping"))["result"] == "pong"
    assert worker[0].stats.drops["stranger-rate"] >= len(strangers) - limits.not_pairing_burst - 10


async def test_a_kind_outside_the_policy_is_refused_with_a_reason_and_a_row(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "social")
    answer = await client.sign("profile", kind=0)
    assert "kind 0" in answer["error"]
    denied = await sync_to_async(rows)(tag=AuditTag.SIGN_EVENT)
    assert [row.outcome for row in denied] == [AuditOutcome.DENIED]
    assert json.loads(denied[0].data)["kind"] == 0


async def test_kind_24133_is_never_signed(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "full")
    assert "never" in (await client.sign("x", kind=24133))["error"]


async def test_a_refusal_to_sign_has_a_result_that_is_no_event_and_other_refusals_an_empty_one(
    worker: Running, home: Home
) -> None:
    client = await connected(worker, home, "read-only")
    assert (await client.sign("x"))["result"] == "error"  # nostr-sdk reads it first
    sealed = await client.ask("nip44_encrypt", client.public_key, "x")
    assert sealed["result"] == ""  # and some client might take this for the text
    assert sealed["error"]


async def test_unknown_methods_are_answered_with_an_error(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    for method in ("get_relays", "__class__", "a" * 60):
        assert "error" in await client.ask(method)
    assert (await client.ask("ping"))["result"] == "pong"


async def test_a_revoked_app_hears_so_and_nothing_more_is_signed(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    assert "error" not in await client.sign("before")
    connection = await connection_of(home, client)
    await sync_to_async(services.revoke_connection)(actor=ACTOR, connection=connection)
    await next_look(worker[0].reconciler)
    assert "revoked" in (await client.sign("after"))["error"]


async def test_a_locked_key_user_or_tenant_stops_signing_with_the_next_look_at_changes(
    worker: Running, home: Home
) -> None:
    client = await connected(worker, home)
    for stop in (
        lambda: key_services.lock_key(actor=ACTOR, key=home.key),
        lambda: lock_user(actor=ACTOR, user=home.user),
        lambda: suspend_tenant(actor=ACTOR, tenant=home.tenant),
    ):
        await sync_to_async(stop)()
        await next_look(worker[0].reconciler)
        assert "error" in await client.sign("late")
        assert worker[0].stats.signed == 0


async def test_an_expired_connection_is_refused(worker: Running, home: Home) -> None:
    client = await connected(worker, home, expires_at=timezone.now() + timedelta(seconds=1.5))
    assert "error" not in await client.sign("in time")
    await asyncio.sleep(1.6)
    assert "expired" in (await client.sign("late"))["error"]


async def test_a_logged_out_app_is_refused_until_it_connects_again(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    assert (await client.ask("logout"))["result"] == "ack"
    assert "logged out" in (await client.ask("ping"))["error"]
    again = await connected(worker, home, secret=client.secret)
    assert (await again.ask("ping"))["result"] == "pong"


async def test_a_use_limit_of_ten_holds_under_concurrent_requests(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    connection = await connection_of(home, client)
    policy = {
        "version": 1,
        "rules": [{"effect": "allow", "methods": ["sign_event"], "kinds": [1]}],
        "limits": {"total_uses": 10},
    }
    await sync_to_async(lambda: _set(connection, policy=policy))()
    await worker[0].reconciler.reload([home.transport.id])
    template = {"kind": 1, "content": "x", "tags": [], "created_at": 1}
    for number in range(50):
        worker[1].send(client.compose("sign_event", [json.dumps(template)], f"n{number}")[1])
    answers = [await client.next() for _ in range(50)]
    assert sum("error" not in answer for answer in answers) == 10
    assert len(await sync_to_async(rows)(tag=AuditTag.SIGN_EVENT, outcome=AuditOutcome.OK)) == 10
    assert (await connection_of(home, client)).use_count == 10


def _set(connection: Connection, **values: Any) -> None:
    with unscoped():
        regrant(Connection.objects.filter(id=connection.id), **values)


async def test_one_client_key_on_two_signers_gets_two_public_keys(worker: Running, home: Home) -> None:
    other = await sync_to_async(make_home)()
    first = await connected(worker, home)
    second = await connected(worker, other, secret=first.secret)
    worker[1].waiters[first.public_key] = first._inbox
    assert (await first.ask("get_public_key"))["result"] == home.key.public_key
    worker[1].waiters[first.public_key] = second._inbox
    assert (await second.ask("get_public_key"))["result"] == other.key.public_key


async def test_a_repeated_event_is_signed_once_and_answered_alike(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    template = json.dumps({"kind": 1, "content": "once", "tags": [], "created_at": 1})
    _, raw = client.compose("sign_event", [template], "same")
    worker[1].send(raw)
    first = await client.next()
    worker[1].send(raw)
    await client.silence()
    worker[0].gate.forget(json.loads(raw)["id"])
    worker[1].forget(json.loads(raw)["id"])
    worker[1].send(raw)  # as after a restart: only the database remembers
    assert await client.next() == first
    worker[1].send(client.compose("sign_event", [template], "same")[1])  # another event, the same request
    assert await client.next() == first
    changed = json.dumps({"kind": 1, "content": "changed", "tags": [], "created_at": 1})
    assert "already used" in (await client.ask("sign_event", changed, request_id="same"))["error"]
    assert worker[0].stats.signed == 1


async def test_refusals_beyond_the_bound_are_said_but_not_written(worker: Running, home: Home) -> None:
    client = await connected(worker, home, "read-only")
    for number in range(130):
        worker[1].send(
            client.compose("sign_event", ['{"kind":1,"content":"","tags":[],"created_at":1}'], f"f{number}")[1]
        )
    answers = [await client.next() for _ in range(130)]
    assert all("error" in answer for answer in answers)
    assert 100 <= len(await sync_to_async(rows)(tag=AuditTag.SIGN_EVENT)) <= 110


async def test_a_result_that_no_relay_takes_becomes_an_error(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    signed = worker[0].stats.signed
    assert "too large" in (await client.sign('"' * 163_740))["error"]
    assert worker[0].stats.signed == signed  # it was seen before the key was used
    assert (await client.ask("ping"))["result"] == "pong"


async def test_a_plaintext_that_cannot_be_delivered_is_no_success_in_the_log(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    peer = Client(worker[1], home.key.public_key)
    text = peer.encrypt("\n" * 400_000)
    assert "too large" in (await client.ask("nip44_decrypt", peer.public_key, text))["error"]
    last = (await sync_to_async(rows)(tag=AuditTag.NIP44_DECRYPT))[-1]
    assert last.outcome == AuditOutcome.FAILED
    assert json.loads(last.data)["reason"] == "too-large"


@pytest.mark.parametrize(
    ("kind", "count", "tag"),
    [
        (3, 5_000, ["p", "a" * 64]),
        (3, 1_500, ["p", "a" * 64, "wss://relay.example.com", "friend"]),
        (35_128, 2_000, ["path", "/assets/page.js", "a" * 64]),
        (1, 2_100, ["t", "x"]),
    ],
)
async def test_lists_as_long_as_people_have_are_signed(
    worker: Running, home: Home, kind: int, count: int, tag: list[str]
) -> None:
    client = await connected(worker, home)
    event = parse_event((await client.sign(kind=kind, tags=[tag] * count))["result"])
    assert verify_event(event)
    assert len(event.tags) == count


async def test_a_message_of_128_kib_is_encrypted_and_decrypted(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    text = "x" * 128 * 1024
    sealed = await client.ask("nip44_encrypt", home.key.public_key, text)
    assert (await client.ask("nip44_decrypt", home.key.public_key, sealed["result"]))["result"] == text


async def test_a_content_that_does_not_decrypt_is_refused_by_name(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    other = Client(worker[1], home.key.public_key)
    event_id, raw = client.compose_text("x")
    content = parse_event(other.compose_text("x")[1]).content
    unsigned = UnsignedEvent(client.public_key, int(time.time()), 24133, [["p", client.signer]], content)
    digest = id_of(unsigned)
    worker[1].send(serialize(unsigned.signed(digest.hex(), client.keypair.sign(digest))))
    await client.silence()
    assert "NIP-44" in worker[1].refused[digest.hex()]
    assert event_id not in worker[1].refused
    assert raw


def _over_nip04(client: Client, text: str) -> tuple[str, bytes]:
    with nip04.shared_key(client.keypair, bytes.fromhex(client.signer)) as key:
        content = nip04.encrypt(text, key)
    unsigned = UnsignedEvent(client.public_key, int(time.time()), 24133, [["p", client.signer]], content)
    digest = id_of(unsigned)
    return digest.hex(), serialize(unsigned.signed(digest.hex(), client.keypair.sign(digest)))


@pytest.mark.parametrize(
    "text", ['{"id":"1","method":"ping","params":[]}', '{"id":"1","method":"sign_event","params":[]}']
)
async def test_a_request_over_nip04_is_refused_by_name(worker: Running, home: Home, text: str) -> None:
    client = await connected(worker, home)
    event_id, raw = _over_nip04(client, text)
    worker[1].send(raw)
    await client.silence()
    assert "NIP-44" in worker[1].refused[event_id]


async def test_a_connect_over_nip04_is_answered_with_nip44(worker: Running, home: Home) -> None:
    _, secret = await sync_to_async(lambda: issue(home, "full"))()
    await worker[0].reconciler.look()
    client = Client(worker[1], home.transport.public_key)
    text = json.dumps({"id": "1", "method": "connect", "params": ["", secret]})
    worker[1].send(_over_nip04(client, text.replace(secret, "wrong"))[1])
    assert "error" in await client.next()
    worker[1].send(_over_nip04(client, text)[1])
    assert (await client.next())["result"] == "ack"  # in NIP-44
    assert (await client.ask("ping"))["result"] == "pong"


@pytest.mark.parametrize(
    "text", ["{}", "hello", '{"method":"ping","params":[]}', '{"id":null,"method":"ping","params":[]}']
)
async def test_a_request_without_an_id_is_refused_by_its_event(worker: Running, home: Home, text: str) -> None:
    client = await connected(worker, home)
    event_id, raw = client.compose_text(text)
    worker[1].send(raw)
    await client.silence()
    assert "NIP-46" in worker[1].refused[event_id]


async def test_ids_that_are_numbers_or_long_are_answered(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    worker[1].send(client.compose_text('{"id":7,"method":"ping","params":[]}')[1])
    answer = await client.next()
    assert answer["id"] == 7
    assert "strings" in answer["error"]
    assert (await client.ask("ping", request_id="x" * 4_000))["result"] == "pong"


async def test_an_answer_is_not_dated_before_its_request(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    ahead = int(time.time()) + 60
    worker[1].send(client.compose("ping", [], created_at=ahead)[1])
    assert (await client.next())["result"] == "pong"
    assert worker[1].published[-1].created_at == ahead


@pytest.mark.parametrize("params", [[], [""], ["{}"], ["5"], ["null"]])
async def test_malformed_templates_are_refused(worker: Running, home: Home, params: list[str]) -> None:
    client = await connected(worker, home)
    assert "error" in await client.ask("sign_event", *params)


async def test_a_request_id_means_one_request_until_no_resend_can_come(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    notes = [json.dumps({"kind": 1, "content": text, "tags": [], "created_at": 1}) for text in "ab"]
    signed = await client.ask("sign_event", notes[0], request_id="1")
    assert "already used" in (await client.ask("sign_event", notes[1], request_id="1"))["error"]
    for _ in range(100):
        if await Request.objects.filter(request_id="1", state="published").aupdate(claimed_at=1):
            break
        await asyncio.sleep(0.05)
    later = await client.ask("sign_event", notes[1], request_id="1")
    assert json.loads(signed["result"])["content"] == "a"
    assert json.loads(later["result"])["content"] == "b"
    assert worker[0].stats.signed == 2
