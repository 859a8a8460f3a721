"""The register of open connections, and the protocols' own clocks, without a network."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings
from uvicorn.server import ServerState

from bunker.relays.limits import BuiltInLimits
from keycast.serving import open_files, wiping
from keycast.serving.connections import ConnectionRegister
from keycast.serving.limits import ConnectionLimits
from keycast.serving.protocols import BoundedHttpProtocol, BoundedWebsocketProtocol, protocols
from keycast.serving.wiping import WipedBuffer


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """A connection of which only the register knows."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.ended: list[str] = []

    def overdue(self, now: float) -> str | None:
        return self.reason

    def end(self, reason: str) -> None:
        self.ended.append(reason)


def registered(*, counts_peers: bool = True, **limits: Any) -> ConnectionRegister:
    return ConnectionRegister(ConnectionLimits(**limits), counts_peers=counts_peers, clock=Clock())


def test_one_network_is_refused_beyond_its_share_and_let_in_when_one_has_gone() -> None:
    register = registered(connections_per_network=2)
    first, second, third, other = (Peer() for _ in range(4))
    assert register.add(first, "2001:db8::1")
    assert register.add(second, "2001:db8::2")
    assert not register.add(third, "2001:db8::3")
    assert register.add(other, "192.0.2.1")
    register.remove(first)
    assert register.add(third, "2001:db8::3")


def test_proxies_are_not_counted_as_clients() -> None:
    register = registered(counts_peers=False, connections_per_network=1)
    assert all(register.add(Peer(), "10.0.0.1") for _ in range(5))


def test_a_full_server_ends_who_has_waited_longest_for_a_request_and_nobody_who_has_one() -> None:
    register = registered(connections=3)
    working, waiting, later, new, newest = (Peer() for _ in range(5))
    for peer in (working, waiting, later):
        assert register.add(peer, "192.0.2.1")
        register.waits(peer)
    register.works(working)
    assert register.add(new, "192.0.2.2")
    assert (working.ended, waiting.ended, later.ended) == ([], ["full"], [])
    register.works(later)
    assert not register.add(newest, "192.0.2.3")
    assert len(register) == 3


def test_what_is_overdue_is_ended_for_its_reason() -> None:
    register = registered()
    late, early = Peer("head"), Peer()
    for peer in (late, early):
        register.add(peer, "192.0.2.1")
    register.sweep()
    assert (late.ended, early.ended) == (["head"], [])


class Transport:
    """A transport whose client takes as much as the test says."""

    def __init__(self) -> None:
        self.unsent = 0
        self.written = b""
        self.state = "open"

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 5) if name in {"peername", "sockname"} else None

    def is_closing(self) -> bool:
        return self.state != "open"

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer(scope: Any, receive: Any, send: Any) -> None: ...


def made(register: ConnectionRegister) -> tuple[BoundedHttpProtocol, Transport, uvicorn.Config]:
    http, websocket = protocols(register, {"/import/"})
    config = uvicorn.Config(answer, http=http, ws=websocket, log_config=None)
    config.load()
    protocol, transport = http(config, ServerState(), {}), Transport()
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport, config


@pytest.fixture
def register() -> ConnectionRegister:
    return registered(head_seconds=10, request_seconds=100, stall_seconds=30, http_age=1_000, websocket_age=500)


def turn(register: ConnectionRegister, seconds: float) -> None:
    clock = register.clock
    assert isinstance(clock, Clock)
    clock.now += seconds
    register.sweep()


REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


async def test_a_head_has_its_time_from_its_first_byte(register: ConnectionRegister) -> None:
    protocol, transport, _ = made(register)
    turn(register, 9)
    protocol.data_received(REQUEST[:10])
    turn(register, 9)
    assert transport.state == "open"
    protocol.data_received(b"x")
    turn(register, 2)
    assert transport.state == "aborted"


async def test_a_request_has_its_time_in_all(register: ConnectionRegister) -> None:
    protocol, transport, _ = made(register)
    protocol.data_received(REQUEST)
    turn(register, 99)
    assert transport.state == "open"
    turn(register, 2)
    assert transport.state == "aborted"


async def test_a_client_that_takes_nothing_is_dropped_and_a_slow_one_is_not(register: ConnectionRegister) -> None:
    protocol, transport, _ = made(register)
    protocol.data_received(REQUEST)
    for unsent in (60_000, 50_000, 40_000):
        transport.unsent = unsent
        turn(register, 29)
    assert transport.state == "open"
    turn(register, 29)
    turn(register, 2)
    assert transport.state == "aborted"


async def test_an_answer_that_is_complete_may_still_be_taken_slowly(register: ConnectionRegister) -> None:
    protocol, transport, _ = made(register)
    protocol.data_received(REQUEST)
    transport.unsent = 60_000
    protocol.on_response_complete()
    turn(register, 20)
    assert transport.state == "open"
    transport.unsent = 0
    turn(register, 1)
    assert transport.state == "aborted", "nothing is left to take, and no request comes"


def post(path: str, *, end: bytes = b"") -> bytes:
    """A request that nothing else refers to."""
    head = f"POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8\r\n\r\n"
    return bytes(bytearray(head.encode() + end))


async def test_what_is_sent_to_a_secret_path_is_overwritten_once_it_is_read(register: ConnectionRegister) -> None:
    protocol, _, _ = made(register)
    first, second = post("/import/", end=b"abc"), bytes(bytearray(b"defgh"))
    protocol.data_received(first)
    protocol.data_received(second)
    assert (set(first), set(second)) == ({0}, {0})
    body = protocol.cycle.body
    assert body == b"abcdefgh"
    assert isinstance(body, WipedBuffer)


async def test_what_is_sent_elsewhere_is_left_alone_also_after_a_secret(register: ConnectionRegister) -> None:
    protocol, _, _ = made(register)
    protocol.data_received(post("/import/", end=b"abcdefgh"))
    protocol.cycle.response_complete = True
    protocol.on_response_complete()
    other = post("/keys/", end=b"abcdefgh")
    protocol.data_received(other)
    assert other.endswith(b"abcdefgh")
    assert not isinstance(protocol.cycle.body, WipedBuffer)


async def test_the_loops_own_buffer_is_read_over_with_zeros(
    register: ConnectionRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(wiping, "overwrite_read_buffer", lambda loop, size: read.append(size))
    protocol, _, _ = made(register)
    whole = post("/import/", end=b"abcdefgh")
    protocol.data_received(whole)
    protocol.data_received(post("/keys/")[:10])
    assert read == [len(whole)]


async def test_an_old_connection_ends_with_its_next_answer(register: ConnectionRegister) -> None:
    protocol, transport, _ = made(register)
    protocol.data_received(REQUEST)
    assert protocol.cycle.keep_alive
    protocol.cycle.response_complete = True
    protocol.on_response_complete()
    register.clock.now += 1_001  # type: ignore[attr-defined]
    protocol.data_received(REQUEST)
    assert not protocol.cycle.keep_alive
    assert transport.state == "open"


async def test_a_websocket_stays_counted_and_ends_when_it_is_old(register: ConnectionRegister) -> None:
    protocol, transport, config = made(register)
    ws = config.ws_protocol_class
    assert ws is not None
    after = ws(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
    assert isinstance(after, BoundedWebsocketProtocol)
    after.connection_made(transport)  # type: ignore[arg-type]
    register.replace(protocol, after)
    assert len(register) == 1
    turn(register, 499)
    assert transport.state == "open"
    turn(register, 2)
    assert transport.state == "closed", "after what was written"
    transport.unsent = 1
    turn(register, 1)
    turn(register, 31)
    assert transport.state == "aborted", "which its client does not take"
    after.connection_lost(None)
    assert len(register) == 0


@pytest.mark.parametrize("given", [{"conections": "5"}, {"connections": "many"}, {"head_seconds": "0"}])
def test_a_limit_that_is_none_is_refused(settings: Settings, given: dict[str, str]) -> None:
    settings.CONNECTION_LIMITS = given
    with pytest.raises(ImproperlyConfigured, match="KEYCAST_CONNECTION_LIMITS"):
        ConnectionLimits.from_settings()


def test_limits_are_read_with_their_types(settings: Settings) -> None:
    settings.CONNECTION_LIMITS = {"connections": "5000", "head_seconds": "0.5"}
    limits = ConnectionLimits.from_settings()
    assert (limits.connections, limits.head_seconds, limits.requests) == (5000, 0.5, 128)


def limit_files(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda kind, both: asked.append(both))
    return asked


def test_limits_that_do_not_fit_the_files_of_the_process_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = limit_files(monkeypatch, 1024, 2048)
    with pytest.raises(ImproperlyConfigured, match="LimitNOFILE"):
        open_files.make_room_for_connections(ConnectionLimits(), BuiltInLimits())
    assert asked == []


def test_websockets_leave_room_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_files(monkeypatch, 1024, 99_999)
    with pytest.raises(ImproperlyConfigured, match="KEYCAST_RELAY_LIMITS"):
        open_files.make_room_for_connections(ConnectionLimits(), BuiltInLimits(connections=3_000))


def test_the_limit_of_open_files_is_raised_to_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = limit_files(monkeypatch, 1024, 99_999)
    open_files.make_room_for_connections(ConnectionLimits(), BuiltInLimits())
    assert asked == [(open_files.needed(ConnectionLimits()), 99_999)]
    assert limit_files(monkeypatch, 50_000, 99_999) == []
