"""Keys, events, a relay served on loopback, a worker's sink, and clocks that stand still: what relay tests stand on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bunker.relays.consumer import RelayConsumer
from bunker.relays.event_checks import Intake
from bunker.relays.hub import RelayHub
from bunker.relays.interfaces import DropReason
from bunker.relays.limits import BuiltInLimits, IntakeLimits
from bunker.relays.session import RelaySession
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip01 import Event, UnsignedEvent, id_of, serialize

TENANT = "a" * 32
OTHER_TENANT = "b" * 32
PLAIN = "websockets-sansio"
DIRECT = "bunker.relays.direct_protocol:DirectProtocol"


def keypair(number: int) -> Keypair:
    return Keypair.from_secret(SecretBytes(number.to_bytes(32, "big")))


CLIENT, SIGNER, OTHER_SIGNER, STRANGER = (keypair(number) for number in (11, 12, 13, 14))
HOSTS = {"a.example": TENANT, "b.example": OTHER_TENANT, "127.0.0.1": TENANT}


def signed(
    author: Keypair = CLIENT,
    to: Keypair | str | None = SIGNER,
    content: str = "ciphertext",
    *,
    kind: int = 24133,
    at: float | None = None,
    tags: list[list[str]] | None = None,
) -> Event:
    """An event of ``author`` with a ``p`` tag for ``to`` (unless tags are given)."""
    recipient = to.public_key_hex if isinstance(to, Keypair) else to
    unsigned = UnsignedEvent(
        author.public_key_hex,
        int(time.time() if at is None else at),
        kind,
        tags if tags is not None else [["p", recipient or ""]],
        content,
    )
    digest = id_of(unsigned)
    return unsigned.signed(digest.hex(), author.sign_unchecked(digest))


def reply(to: Keypair = CLIENT, content: str = "answer", author: Keypair = SIGNER, **options: Any) -> Event:
    return signed(author, to, content, **options)


class Served:
    """Two signers of two tenants."""

    def __init__(self) -> None:
        self.pairing: set[str] = set()
        self.keys = {SIGNER.public_key_hex: TENANT, OTHER_SIGNER.public_key_hex: OTHER_TENANT}

    def serves(self, public_key: str, scope: str | None = None) -> bool:
        tenant = self.keys.get(public_key)
        return tenant is not None and scope in {None, tenant}

    def tenant_of(self, public_key: str) -> str | None:
        return self.keys.get(public_key)

    def knows(self, client: str, signer: str) -> bool:
        return client == CLIENT.public_key_hex

    def is_pairing(self, signer: str) -> bool:
        return signer in self.pairing


@dataclass
class Sink:
    """Takes what a worker would take, and answers as told."""

    verdict: DropReason | None = None
    taken: list[tuple[Event, bytes, str]] = field(default_factory=list)
    on_receive: Callable[[Event], None] | None = None

    def receive(self, event: Event, raw: bytes, relay: str) -> DropReason | None:
        if self.verdict is None:
            self.taken.append((event, raw, relay))
            if self.on_receive is not None:
                self.on_receive(event)
        return self.verdict

    @property
    def ids(self) -> list[str]:
        return [event.id for event, _, _ in self.taken]


class Clock:
    """Time that moves when told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Out:
    """A session's frames, kept."""

    frames: list[Any] = field(default_factory=list)
    lazy: int = 0
    waiting: int = 0
    is_overflown: bool = False

    def put(self, frame: bytes, *, lazy: bool = False) -> None:
        self.frames.append(json.loads(frame))
        self.lazy += lazy

    def flush(self) -> None:
        self.lazy = 0

    def withdraw(self, frame: bytes) -> None:
        if json.loads(frame) in self.frames:
            self.frames.remove(json.loads(frame))

    def waiting_bytes(self) -> int:
        return self.waiting

    def take(self) -> list[Any]:
        frames, self.frames = self.frames, []
        return frames


def make_hub(sink: Sink | None = None, clock: Clock | None = None, *, intake: Any = None, **limits: Any) -> RelayHub:
    timing = {} if clock is None else {"clock": clock}
    door = Intake(Served(), IntakeLimits(**(intake or {})), **timing)
    hub = RelayHub(door, BuiltInLimits(**{"reply_window": 0.001, **limits}), **timing)
    if sink is not None:
        hub.attach(sink)
    return hub


async def scope_of(host: str) -> str | None:
    return HOSTS.get(host.partition(":")[0])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(hub: RelayHub, ws: str = DIRECT, *, application: Any = None, **options: Any) -> AsyncIterator[str]:
    """The built-in relay over real sockets; yields its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application or RelayConsumer.as_asgi(hub=hub, resolve_scope=scope_of),
        **{
            "ws": ws,
            "lifespan": "off",
            "log_config": None,
            "ws_per_message_deflate": False,
            "ws_max_size": hub.intake.limits.frame_bytes,
            "timeout_graceful_shutdown": 1,
            "loop": "none",
            **options,
        },
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/relay"
    finally:
        server.should_exit = True
        await task
        listening.close()


class Client:
    """A Nostr client over a real websocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, *parts: Any) -> None:
        await self.socket.send(json.dumps(parts))

    async def publish(self, event: Event) -> Any:
        await self.socket.send('["EVENT",' + serialize(event).decode() + "]")
        return await self.hear()

    async def hear(self, seconds: float = 5) -> Any:
        async with asyncio.timeout(seconds):
            return json.loads(await self.socket.recv())

    async def hears_nothing(self, seconds: float = 0.1) -> bool:
        try:
            await self.hear(seconds)
        except TimeoutError:
            return True
        return False

    async def subscribe(self, name: str = "s", **filter_: Any) -> list[Any]:
        """Open a subscription and return the stored events that came before EOSE."""
        wanted = {"kinds": [24133], **{("#p" if key == "p" else key): value for key, value in filter_.items()}}
        await self.say("REQ", name, wanted)
        stored = []
        while (frame := await self.hear())[0] == "EVENT":
            stored.append(frame[2])
        assert frame == ["EOSE", name]
        return stored


@asynccontextmanager
async def client(url: str, host: str | None = None) -> AsyncIterator[Client]:
    """A connected client; ``host`` is the Host header's name."""
    parts = {"host": "127.0.0.1", "port": int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])} if host else {}
    async with connect(f"ws://{host}/relay" if host else url, compression=None, proxy=None, **parts) as socket:
        yield Client(socket)


class Peer:
    """A client of the hub without a socket."""

    def __init__(self, hub: RelayHub, scope: str = TENANT, address: str = "192.0.2.1", host: str = "a.example") -> None:
        self.out = Out()
        session = hub.open(scope, address, self.out, host)
        assert session is not None
        self.session: RelaySession = session

    def say(self, *parts: Any) -> list[Any]:
        return self.text(json.dumps(parts).encode())

    def text(self, text: bytes) -> list[Any]:
        self.session.handle(text)
        return self.out.take()

    def publish(self, event: Event) -> list[Any]:
        return self.text(b'["EVENT",' + serialize(event) + b"]")

    def subscribe(self, name: str = "s", **filter_: Any) -> list[Any]:
        return self.say("REQ", name, {("#p" if key == "p" else key): value for key, value in filter_.items()})


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """A frame as a client sends it, with ``first`` as its first byte."""
    mask = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65_536:
        head = bytes((first, 0x80 | 126)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0x80 | 127)) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def closed_with(peer: Client) -> int | None:
    """The code that the connection of ``peer`` ends with."""
    with pytest.raises(ConnectionClosed):
        while True:
            await peer.hear()
    return peer.socket.close_code
