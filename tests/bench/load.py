"""The load, in a process of its own: NIP-46 clients that ask one request after the other over the built-in relay.

Standard input: one JSON plan, then a line ``go``. Standard output: ``ready``, then the figures as one JSON line.
Every request is encrypted, signed and framed before ``ready``; every answer is verified after the clock has stopped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from urllib.parse import urlsplit

import msgspec
import uvloop

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44
from keycast.nostr.client import identity
from keycast.nostr.client.checks import signed_as_asked
from keycast.nostr.client.wire import RequestCipher
from keycast.nostr.nip01 import serialize
from keycast.nostr.uris import BunkerUri
from tests.bench.websocket import Socket, frame

ANSWER_WITHIN = 20.0
LONGEST_RUN = 240
"""Seconds after which a run that hangs is killed."""


class Plan(msgspec.Struct):
    """What to do. ``method`` is sign_event, nip44_decrypt, ping or mix; ``clients`` say who asks whom."""

    clients: list[Target]
    requests: int
    method: str


class Target(msgspec.Struct):
    """One client and its bunker. ``client_secret`` (hex) is paired already, or by the secret in ``bunker_url``."""

    bunker_url: str
    public_key: str
    client_secret: str


class Job(msgspec.Struct):
    """One prepared request, and what is needed to judge the answer."""

    request_id: str
    method: str
    expected: object
    frame: bytes


class Client:
    """One client: sends its jobs one after the other, and keeps each raw answer with its latency in seconds."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.uri = BunkerUri.parse(target.bunker_url)
        self.wire = RequestCipher(
            Keypair.from_secret(SecretBytes(bytes.fromhex(target.client_secret))), self.uri.signer_public_key
        )
        self.jobs: list[Job] = []
        self.answers: list[tuple[Job, bytes]] = []
        self.latencies: list[float] = []
        self._eose: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._peer = identity.fresh()
        self._with_user = nip44.conversation_key(self._peer, bytes.fromhex(target.public_key))

    async def open(self) -> None:
        """Connect, subscribe, and pair; pairing again with the same key is harmless."""
        parts = urlsplit(self.uri.relays[0])
        host, port = parts.hostname or "", parts.port or 80
        loop = asyncio.get_running_loop()
        _, self.socket = await loop.create_connection(lambda: Socket(parts.netloc, parts.path, self._hear), host, port)
        await self.socket.opened
        self.socket.send(frame(msgspec.json.encode(["REQ", "s", {**self.wire.subscription, "limit": 0}])))
        await self._eose
        if self.uri.secret:
            await self.run([self.prepare("connect", [self.uri.signer_public_key, self.uri.secret], "ack")])

    def prepare(self, method: str, params: list[str], expected: object) -> Job:
        request_id = f"{id(self):x}-{time.monotonic_ns():x}"
        event = self.wire.seal(request_id, method, params)
        return Job(request_id, method, expected, frame(b'["EVENT",' + serialize(event) + b"]"))

    def prepare_mixed(self, method: str, number: int) -> Job:
        """The ``number``-th request of a run; of ten of a mix, five sign, two decrypt, two encrypt, one pings."""
        if method == "mix":
            method = ("sign_event", "nip44_decrypt", "sign_event", "nip44_encrypt", "sign_event")[number % 5]
            method = "ping" if number % 10 == 9 else method
        if method == "sign_event":
            note = {"kind": 1, "content": f"a note of usual length, number {number}: " + "words " * 12, "tags": []}
            note["created_at"] = int(time.time())
            return self.prepare(method, [msgspec.json.encode(note).decode()], note)
        text = f"a message of usual length, number {number}: " + "words " * 12
        if method == "nip44_decrypt":
            payload = nip44.encrypt(text, self._with_user)
            return self.prepare(method, [self._peer.public_key_hex, payload], text)
        if method == "nip44_encrypt":
            return self.prepare(method, [self._peer.public_key_hex, text], text)
        return self.prepare("ping", [], "pong")

    async def run(self, jobs: list[Job]) -> None:
        """Ask, wait for the answer, ask the next; returns with the last answer."""
        self.jobs, self._place = jobs, 0
        self._done = asyncio.get_running_loop().create_future()
        self._ask()
        await self._done

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self.socket.send(self.jobs[self._place].frame)

    def _hear(self, payload: bytes) -> None:
        if payload.startswith(b'["EVENT"'):
            self.latencies.append(time.perf_counter() - self._sent)
            self.answers.append((self.jobs[self._place], payload))
            self._place += 1
            if self._place < len(self.jobs):
                self._ask()
            else:
                self._done.set_result(None)
        elif payload.startswith(b'["EOSE"'):
            self._eose.set_result(None)
        elif not payload.startswith(b'["OK"') or b",false," in payload:
            self._done.set_exception(RuntimeError(payload.decode(errors="replace")[:200]))

    def verify(self) -> int:
        """Judge every answer; returns how many were right. Raises at the first that is not."""
        signatures = set()
        for job, payload in self.answers:
            reply = self.wire.open(msgspec.json.decode(payload, type=list[msgspec.Raw])[2])
            assert reply is not None, "a reply that is not the bunker's"
            assert reply.request_id == job.request_id, "a reply to another request"
            assert not reply.error, f"{job.method} was refused: {reply.error}"
            if job.method == "sign_event":
                event = signed_as_asked(reply.result, job.expected, self.target.public_key)  # type: ignore[arg-type]
                assert event.sig not in signatures, "one signature for two requests"
                signatures.add(event.sig)
            elif job.method == "nip44_encrypt":
                assert nip44.decrypt(reply.result, self._with_user) == job.expected
            else:
                assert reply.result == job.expected, f"{job.method} answered something else"
        return len(self.answers)


async def drive(plan: Plan) -> dict[str, object]:
    """Open all clients, prepare all requests, wait for ``go``, run, verify."""
    clients = [Client(target) for target in plan.clients]
    for start in range(0, len(clients), 20):
        await asyncio.gather(*(client.open() for client in clients[start : start + 20]))
    for client in clients:
        warm_up = [client.prepare_mixed(plan.method, number) for number in range(3)]
        await asyncio.wait_for(client.run(warm_up), ANSWER_WITHIN)
    jobs = [[client.prepare_mixed(plan.method, number) for number in range(plan.requests)] for client in clients]
    for client in clients:
        client.verify()
        client.answers, client.latencies = [], []
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.wait_for(
        asyncio.gather(*(client.run(todo) for client, todo in zip(clients, jobs, strict=True))), LONGEST_RUN
    )
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    print("stopped", flush=True)
    return _figures(clients, elapsed, cpu)


def _figures(clients: list[Client], elapsed: float, cpu: float) -> dict[str, object]:
    latencies = sorted(1000 * latency for client in clients for latency in client.latencies)
    verified = sum(client.verify() for client in clients)
    assert verified == len(latencies)
    return {
        "clients": len(clients),
        "requests": verified,
        "seconds": elapsed,
        "per_second": verified / elapsed,
        "p50_ms": latencies[len(latencies) // 2],
        "p95_ms": latencies[int(len(latencies) * 0.95)],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "max_ms": latencies[-1],
        "client_us": 1e6 * cpu / verified,
    }


def main() -> None:
    signal.alarm(LONGEST_RUN)
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    print(json.dumps(uvloop.run(drive(plan))), flush=True)


if __name__ == "__main__":
    main()
