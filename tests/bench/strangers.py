"""Fifty strangers, in a process of their own: each sends the dearest it can think of, as fast as it is read.

Standard input: one JSON plan, then a line ``stop``. Standard output: ``ready`` when all are connected and at it, then
how many of their frames were answered, as one JSON line. Each has an address of its own (127.0.0.2 and on): one is held
to its own bounds. The process gives way to all others (nice 19), for strangers bring processors of their own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from urllib.parse import urlsplit

import msgspec
import uvloop

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.client.wire import RequestCipher
from keycast.nostr.nip01 import UnsignedEvent, id_of, serialize
from keycast.nostr.uris import BunkerUri
from tests.bench.load import Target
from tests.bench.websocket import frame

STRANGERS = 50
ANSWERS = (b'["OK",', b'["EOSE",', b'["CLOSED",', b'["NOTICE",')
ADMITTED_REQUESTS = 100
"""Different requests that each connection of an admitted app has ready; then it sends them again."""


class Plan(msgspec.Struct):
    """``what`` is requests, events or admitted; ``clients`` are paired apps, whose keys strangers happen to know."""

    what: str
    clients: list[Target]


def public_key_of(target: Target) -> str:
    return _keypair(target).public_key_hex


def _keypair(target: Target) -> Keypair:
    return Keypair.from_secret(SecretBytes(bytes.fromhex(target.client_secret)))


def dear_requests(clients: Sequence[Target]) -> list[bytes]:
    """REQs: all of the remembered replies to known clients, ten times; as many values as one may name."""
    known = [public_key_of(target) for target in clients][:20]
    new = [os.urandom(32).hex() for _ in range(200)]
    walk = [{"#p": known, "since": 2**40 + number} for number in range(10)]
    return [
        message
        for name in "abcd"
        for message in (
            msgspec.json.encode(["REQ", name, *walk]),
            msgspec.json.encode(["REQ", f"{name}{name}", {"#p": new}]),
            msgspec.json.encode(["REQ", name, *[{"#p": known[:1], "#e": [str(item) for item in range(20)]}] * 10]),
            msgspec.json.encode(["REQ", name, {"#p": known, "limit": 500}]),
        )
    ]


def dear_events(clients: Sequence[Target]) -> list[bytes]:
    """EVENTs: a mebibyte in the name of a known client, forged; long and short ones with a signature that is right."""
    signer = BunkerUri.parse(clients[0].bunker_url).signer_public_key
    stranger, _ = Keypair.generate()
    events = [_event(stranger, signer, size) for size in (100, 100, 60_000, 15_000, 900_000)]
    forged = json.loads(_event(stranger, signer, 1_000_000)) | {"pubkey": public_key_of(clients[0])}
    return [b'["EVENT",' + event + b"]" for event in (*events, msgspec.json.encode(forged), *events[:2])]


def _event(author: Keypair, signer: str, size: int) -> bytes:
    draft = UnsignedEvent(author.public_key_hex, int(time.time()), 24133, [["p", signer]], os.urandom(size // 2).hex())
    digest = id_of(draft)
    return serialize(draft.signed(digest.hex(), author.sign_unchecked(digest)))


def admitted_requests(target: Target, number: int) -> list[bytes]:
    """Small requests of an app that is paired, each another."""
    wire = RequestCipher(_keypair(target), BunkerUri.parse(target.bunker_url).signer_public_key)
    note = json.dumps({"kind": 1, "content": "x", "tags": [], "created_at": int(time.time())})
    return [
        b'["EVENT",' + serialize(wire.seal(f"{number}-{item}-{time.monotonic_ns():x}", "sign_event", [note])) + b"]"
        for item in range(ADMITTED_REQUESTS)
    ]


class Stranger:
    """One connection after the other from one address."""

    def __init__(self, url: str, number: int, messages: Sequence[bytes]) -> None:
        self._url = urlsplit(url)
        self._address = f"127.0.0.{2 + number}"
        self._frames = cycle([frame(message) for message in messages])
        self.answers = self.connections = 0
        self.is_open = asyncio.Event()

    async def run(self) -> None:
        """Send until cancelled; connect again when it was cut off."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._send()
            await asyncio.sleep(0.2)

    async def _send(self) -> None:
        host, port = self._url.hostname or "", self._url.port or 80
        reader, writer = await asyncio.open_connection(host, port, local_addr=(self._address, 0), limit=1 << 20)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        self.is_open.set()
        self.connections += 1
        reading = asyncio.create_task(self._read(reader))
        try:
            while not reading.done():
                writer.write(next(self._frames))
                await writer.drain()
        finally:
            reading.cancel()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 20):
            self.answers += sum(data.count(name) for name in ANSWERS)


def _strangers(plan: Plan) -> list[Stranger]:
    url = BunkerUri.parse(plan.clients[0].bunker_url).relays[0]
    if plan.what == "admitted":
        return [Stranger(url, number, admitted_requests(plan.clients[0], number)) for number in range(STRANGERS)]
    messages = (dear_requests if plan.what == "requests" else dear_events)(plan.clients)
    return [Stranger(url, number, messages) for number in range(STRANGERS)]


async def besiege(plan: Plan) -> dict[str, float]:
    """Send until ``stop``; how much of it the server acted on, of all."""
    strangers = _strangers(plan)
    tasks = [asyncio.create_task(stranger.run()) for stranger in strangers]
    await asyncio.gather(*(stranger.is_open.wait() for stranger in strangers))
    print("ready", flush=True)
    began = time.perf_counter()
    await asyncio.to_thread(sys.stdin.readline)
    seconds = time.perf_counter() - began
    for task in tasks:
        task.cancel()
    connections = sum(stranger.connections for stranger in strangers)
    answers = sum(stranger.answers for stranger in strangers)
    return {"answers": answers, "per_second": answers / seconds, "connections": connections}


def main() -> None:
    os.nice(19)
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    print(json.dumps(uvloop.run(besiege(plan))), flush=True)
    os._exit(0)  # the thread that waits for standard input has nothing to finish


if __name__ == "__main__":
    main()
