"""The guard before Django: what it refuses, in which order, and what it lets through unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Tenant
from accounts.services import create_tenant
from keycast.audit.entries import Actor
from keycast.crypto.secret_fields import SCOPE_KEY
from keycast.proxies import TrustedProxies
from keycast.serving.guard import SUSPENDED, UNKNOWN_HOST, Answer, Guard, refusal_of_host
from keycast.serving.limits import ConnectionLimits

HOST = (b"host", b"news.example")
CHUNKED = (b"transfer-encoding", b"chunked")


def length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


class Inside:
    """What stands behind the guard: remembers the bodies that it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.after: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await self.go_on.wait()
            return
        self.bodies.append((await receive())["body"])
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Request:
    """One request: which messages it sends, and how it was answered."""

    def __init__(self, *headers: tuple[bytes, bytes], parts: Iterable[bytes] = (), **scope: Any) -> None:
        kind = {"type": "http", "path": "/", "client": ("192.0.2.1", 5), "scheme": "http"}
        self.scope = {**kind, **scope, "headers": [*headers]}
        self.parts = list(parts)
        self.asked = 0
        self.sent: list[dict[str, Any]] = []
        self.is_silent = False

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.is_silent:
            await asyncio.Event().wait()
        if self.scope["type"] == "websocket":
            return {"type": "websocket.connect"}
        part = self.parts.pop(0) if self.parts else b""
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def through(self, guard: Any) -> int | str:
        await guard(self.scope, self.receive, self.send)
        return self.answer()

    def answer(self) -> int | str:
        first = self.sent[0]
        return first["status"] if first["type"] == "http.response.start" else str(first["type"])


KNOWN: dict[str, Answer | None] = {"news.example": None, "old.example": SUSPENDED}


def guarded(inside: Inside, **limits: Any) -> Guard:
    return Guard(
        inside,
        ConnectionLimits(**limits),
        bounds={"/small/": 10},
        probes={"/healthz"},
        refuse_host=lambda name, _: KNOWN.get(name, UNKNOWN_HOST),
    )


@pytest.fixture
async def inside() -> Inside:
    return Inside()


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([], 400),
        ([b"a.example", b"b.example"], 400),
        ([b"a b"], 400),
        ([b"nobody.example"], 404),
        ([b"old.example"], 403),
    ],
)
async def test_no_byte_of_a_body_is_taken_for_a_host_that_is_not_served(
    inside: Inside, hosts: list[bytes], status: int
) -> None:
    request = Request(*((b"host", host) for host in hosts), length(5), parts=[b"12345"])
    assert await request.through(guarded(inside)) == status
    assert request.asked == 0
    assert (b"connection", b"close") in request.sent[0]["headers"]
    assert inside.bodies == []


@pytest.mark.parametrize("declared", [b"-1", b"x", b"", b"9" * 19])
async def test_a_length_that_is_none_is_refused(inside: Inside, declared: bytes) -> None:
    assert await Request(HOST, (b"content-length", declared)).through(guarded(inside)) == 400


@pytest.mark.parametrize(("path", "most"), [("/", 100), ("/small/", 10)])
async def test_a_body_beyond_its_bound_is_refused_by_its_length_or_as_it_comes(
    inside: Inside, path: str, most: int
) -> None:
    guard = guarded(inside, body_bytes=100)
    told = Request(HOST, length(most + 1), parts=[b"x" * (most + 1)], path=path)
    assert await told.through(guard) == 413
    assert told.asked == 0
    untold = Request(HOST, CHUNKED, parts=[b"x"] * 1_000, path=path)
    assert await untold.through(guard) == 413
    assert untold.asked == most + 1
    liar = Request(HOST, length(1), parts=[b"x"] * 1_000, path=path)
    assert await liar.through(guard) == 413
    assert await Request(HOST, length(most), parts=[b"x" * most], path=path).through(guard) == 200
    assert inside.bodies == [b"x" * most]


async def test_a_body_that_does_not_come_in_time_is_refused(inside: Inside) -> None:
    request = Request(HOST, length(5))
    request.is_silent = True
    assert await request.through(guarded(inside, body_seconds=0.01)) == 408


async def test_all_bodies_together_have_a_bound_and_one_network_a_part_of_it(inside: Inside) -> None:
    guard = guarded(inside, bodies_bytes=800)
    inside.go_on.clear()
    held = [
        asyncio.create_task(
            Request(HOST, length(90), parts=[b"x" * 90], client=(f"192.0.2.{number}", 5)).through(guard)
        )
        for number in range(8)
    ]
    while len(inside.bodies) < 8:
        await asyncio.sleep(0)
    assert await Request(HOST, length(20), parts=[b"x" * 20], client=("192.0.2.1", 6)).through(guard) == 429
    assert await Request(HOST, length(90), parts=[b"x" * 90], client=("192.0.2.99", 6)).through(guard) == 503
    inside.go_on.set()
    assert await asyncio.gather(*held) == [200] * 8
    assert await Request(HOST, length(90), parts=[b"x" * 90], client=("192.0.2.1", 6)).through(guard) == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_one_network_asks_for_so_much_at_once_also_behind_a_proxy(
    inside: Inside, settings: Settings, kind: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    guard = TrustedProxies(guarded(inside, connections_per_network=2), count=1)
    inside.go_on.clear()

    def request(address: bytes) -> Request:
        return Request(HOST, (b"x-forwarded-for", b"6.6.6.6, " + address), type=kind, client=("10.0.0.1", 5))

    first = [request(b"2001:db8::1"), request(b"2001:db8::2")]
    held = [asyncio.create_task(one.through(guard)) for one in first]
    await asyncio.sleep(0)
    refused = await request(b"2001:db8::3").through(guard)
    assert refused == (429 if kind == "http" else "websocket.close")
    other = asyncio.create_task(request(b"192.0.2.7").through(guard))
    inside.go_on.set()
    assert await asyncio.gather(*held, other) == [200 if kind == "http" else "websocket.accept"] * 3
    assert await request(b"2001:db8::3").through(guard) == (200 if kind == "http" else "websocket.accept")


async def test_no_more_requests_are_answered_at_once_than_there_are_threads_for_but_probes_are(inside: Inside) -> None:
    guard = guarded(inside, requests=1)
    inside.go_on.clear()
    held = asyncio.create_task(Request(HOST).through(guard))
    await asyncio.sleep(0)
    assert await Request(HOST).through(guard) == 503
    assert await Request(HOST, length(1), parts=[b"x"]).through(guard) == 503
    probe = asyncio.create_task(Request(path="/healthz").through(guard))
    inside.go_on.set()
    assert (await held, await probe) == (200, 200)
    assert await Request(HOST).through(guard) == 200


async def test_a_probe_names_no_host_and_sends_nothing(inside: Inside) -> None:
    assert await Request(length(1), path="/healthz").through(guarded(inside)) == 413
    assert await Request(path="/healthz").through(guarded(inside)) == 200


async def test_a_websocket_without_a_host_is_refused(inside: Inside) -> None:
    assert await Request(type="websocket").through(guarded(inside)) == "websocket.close"


async def test_a_body_comes_whole_and_the_end_of_the_connection_after_it(inside: Inside) -> None:
    request = Request(HOST, CHUNKED, parts=[b"ab", b"", b"cd"])
    assert await request.through(guarded(inside)) == 200
    assert inside.bodies == [b"abcd"]


FORM = (b"content-type", b"application/x-www-form-urlencoded; charset=UTF-8")


def fresh(text: str) -> bytes:
    """Bytes that nothing else refers to: what the guard overwrites may be no constant of a test."""
    return bytes(bytearray(text, "ascii"))


class Reader(Inside):
    """Remembers the secret fields too, as they are while the request is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.scope: Any = {}
        self.read: dict[str, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.read = {name: bytes(secret.view()) for name, secret in scope.get(SCOPE_KEY, {}).items()}
        await super().__call__(scope, receive, send)


def taking(inside: Inside) -> Guard:
    secrets = {"/import/": ("secret",)}
    return Guard(inside, ConnectionLimits(), bounds={}, probes=(), refuse_host=lambda *_: None, secrets=secrets)


async def test_a_secret_field_is_taken_out_of_the_body_and_wiped_when_the_request_is_answered() -> None:
    inside, parts = Reader(), [fresh("name=Mine&sec"), fresh("ret=nsec1abc&x=y")]
    request = Request(HOST, FORM, length(29), parts=parts, path="/import/")
    assert await request.through(taking(inside)) == 200
    assert inside.read == {"secret": b"nsec1abc"}
    assert inside.bodies == [b"name=Mine&secret=********&x=y"]
    assert inside.scope[SCOPE_KEY]["secret"].is_wiped
    assert [set(part) for part in parts] == [{0}, {0}]


async def test_a_body_that_came_at_once_is_overwritten_too() -> None:
    inside, part = Reader(), fresh("secret=nsec1abc")
    assert await Request(HOST, FORM, length(15), parts=[part], path="/import/").through(taking(inside)) == 200
    assert (inside.read, set(part)) == ({"secret": b"nsec1abc"}, {0})


@pytest.mark.parametrize(("path", "kind"), [("/other/", FORM), ("/import/", (b"content-type", b"multipart/form-data"))])
async def test_other_bodies_are_left_as_they_are(path: str, kind: tuple[bytes, bytes]) -> None:
    inside = Reader()
    assert await Request(HOST, kind, length(8), parts=[fresh("secret=x")], path=path).through(taking(inside)) == 200
    assert (inside.read, inside.bodies) == ({}, [b"secret=x"])


@pytest.mark.django_db
def test_hosts_are_asked_of_the_database_as_the_middleware_does(settings: Settings) -> None:
    settings.PLATFORM_HOSTS = ["admin.example"]
    actor = Actor.command("test")
    create_tenant(actor=actor, slug="news", name="News", host="news.example")
    create_tenant(actor=actor, slug="old", name="Old", host="old.example")
    Tenant.objects.filter(slug="old").update(state=Tenant.State.SUSPENDED)
    asked = {
        (host, path): refusal_of_host(host, path)
        for host in ("admin.example", "news.example", "old.example", "nobody.example")
        for path in ("/", "/admin/")
    }
    assert {key: answer for key, answer in asked.items() if answer} == {
        ("old.example", "/"): SUSPENDED,
        ("nobody.example", "/"): UNKNOWN_HOST,
        ("nobody.example", "/admin/"): UNKNOWN_HOST,
    }
