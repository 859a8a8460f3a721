"""Policy on every path to a key, from one table (threats C9, C10, C18, C19)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.urls import URLPattern, URLResolver, get_resolver

from bunker.methods import METHODS, KeyMethod
from bunker.models import Connection, Request
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip04, nip44
from keycast.nostr.nip46 import KEY_METHODS
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Client, Home, issue, make_home, regrant, unscoped

ALLOWS = {"effect": "allow", "methods": ["sign_event"], "kinds": [1]}
NOTE = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": 1})
TALKS = ("nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt")


def talk(method: str, peers: Any = "any", effect: str = "allow") -> dict[str, Any]:
    return {"effect": effect, "methods": [method], "peers": peers}


async def grant(running: Running, home: Home, client: Client, *rules: dict[str, Any], requested: str = "") -> None:
    def write() -> None:
        with unscoped():
            rows = Connection.objects.filter(key=home.key, client_public_key=client.public_key)
            regrant(rows, policy={"version": 1, "rules": list(rules)}, requested_permissions=requested)

    await sync_to_async(write)()
    await running[0].reconciler.reload([home.transport.id])


def payload(method: str, home: Home, peer: Keypair) -> str:
    """What ``peer`` would send to the user, or a plaintext."""
    if method.endswith("encrypt"):
        return "hello"
    if method == "nip44_decrypt":
        return nip44.encrypt("hello", nip44.conversation_key(peer, bytes.fromhex(home.key.public_key or "")))
    return nip04.encrypt("hello", nip04.shared_key(peer, bytes.fromhex(home.key.public_key or "")))


def uses() -> int:
    return AuditRow.objects.filter(outcome__in=[AuditOutcome.INTENT, AuditOutcome.OK], tag__in=KEY_METHODS).count()


def test_every_method_that_uses_the_key_is_in_the_policy_and_no_other() -> None:
    made = {name: make.func if isinstance(make, partial) else make for name, make in METHODS.items()}
    using = {name for name, kind in made.items() if isinstance(kind, type) and issubclass(kind, KeyMethod)}
    assert using == set(KEY_METHODS)


def test_the_portal_has_no_way_to_use_a_key() -> None:
    """The worker is the only path so far: whoever adds another has to add it to this table."""

    def names(resolver: URLResolver) -> set[str]:
        found = set()
        for pattern in resolver.url_patterns:
            found |= {str(pattern.name)} if isinstance(pattern, URLPattern) else names(pattern)
        return found

    assert not {name for name in names(get_resolver()) if any(word in name for word in ("sign_event", "crypt", "nip"))}


@pytest.mark.parametrize("method", KEY_METHODS)
async def test_each_method_is_refused_without_a_rule_of_its_own(worker: Running, home: Home, method: str) -> None:
    client = await connected(worker, home)
    peer = Keypair.generate()[0]
    others = [talk(other) for other in TALKS if other != method]
    await grant(worker, home, client, *others, *([ALLOWS] if method != "sign_event" else []))
    params = [NOTE] if method == "sign_event" else [peer.public_key_hex, payload(method, home, peer)]
    assert "not among the things" in (await client.ask(method, *params))["error"]
    assert await sync_to_async(uses)() == 0


@pytest.mark.parametrize("method", TALKS)
async def test_each_conversation_method_keeps_to_its_peers(worker: Running, home: Home, method: str) -> None:
    client = await connected(worker, home)
    friend, enemy = Keypair.generate()[0], Keypair.generate()[0]
    await grant(worker, home, client, talk(method, [friend.public_key_hex]))
    assert "error" in await client.ask(method, enemy.public_key_hex, payload(method, home, enemy))
    assert "error" in await client.ask(method, friend.public_key_hex.upper(), payload(method, home, friend))
    assert await sync_to_async(uses)() == 0
    assert "error" not in await client.ask(method, friend.public_key_hex, payload(method, home, friend))
    await grant(worker, home, client, talk(method, "any"), talk(method, [friend.public_key_hex], "deny"))
    assert "error" in await client.ask(method, friend.public_key_hex, payload(method, home, friend))


@pytest.mark.parametrize("requested", ["sign_event:7", "nip44_encrypt", "ping", "*,ping", "sign_event:x,ping"])
async def test_what_an_app_asked_for_narrows_every_method(worker: Running, home: Home, requested: str) -> None:
    client = await connected(worker, home)
    peer = Keypair.generate()[0]
    await grant(worker, home, client, ALLOWS, *(talk(method) for method in TALKS), requested=requested)
    assert "error" in await client.ask("sign_event", NOTE)
    assert "error" in await client.ask("nip44_decrypt", peer.public_key_hex, payload("nip44_decrypt", home, peer))


async def test_one_client_key_on_two_signers_reads_as_two_users(worker: Running, home: Home) -> None:
    """A cache of conversations must know whose they are: the same client, the same peer, another user."""
    other = await sync_to_async(make_home)()
    first = await connected(worker, home)
    second = await connected(worker, other, secret=first.secret)
    peer = Keypair.generate()[0]
    worker[1].waiters[first.public_key] = first._inbox
    for method in ("nip44_decrypt", "nip04_decrypt"):
        mine = payload(method, home, peer)
        assert (await first.ask(method, peer.public_key_hex, mine))["result"] == "hello"
        worker[1].waiters[first.public_key] = second._inbox
        assert (await second.ask(method, peer.public_key_hex, mine)).get("result") != "hello"
        worker[1].waiters[first.public_key] = first._inbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"id":1,"method":"connect","params":[]}',
        '{"id":"a","method":"connect","params":{}}',
        '{"id":"a","method":"connect","params":[null]}',
        '{"id":"a","method":"connect","params":["\\ud800","\\ud800"]}',
        '{"id":"a","method":"connect","params":["SIGNER","\\udfff","\\u0000","{"]}',
        '{"id":"a","method":"connect","params":["SIGNER","x","' + "9" * 30_000 + '"]}',
        '{"id":"\\ud800","method":"connect","params":["SIGNER"]}',
        '{"id":"a","id":"b","method":"ping","params":[]}',
        "[" * 20_000,
    ],
)
async def test_nothing_a_stranger_encrypts_correctly_stops_the_worker(worker: Running, home: Home, text: str) -> None:
    client = await connected(worker, home)
    await sync_to_async(issue)(home)
    await worker[0].reconciler.look()
    before = await Request.objects.acount()
    stranger = Client(worker[1], home.transport.public_key)
    if text:
        worker[1].send(stranger.compose_text(text.replace("SIGNER", home.transport.public_key))[1])
    worker[1].send(client.compose_text(text.replace("connect", "sign_event") or " ")[1])
    while (await client.ask("ping")).get("result") != "pong":
        pass
    assert worker[0].stats.errors == {}
    assert await Request.objects.acount() <= before + 2  # the client's own refusal and its ping, nothing of a stranger
