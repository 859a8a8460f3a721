"""The benchmark measures what it says: frames arrive whole, stacks are sorted, wrong answers are not counted."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.server import serve

from tests.bench import hsm, primitives, server, steps
from tests.bench.load import Client, Target
from tests.bench.websocket import Socket, frame
from tests.keycast.nostr.client.fake_bunker import FakeBunker


async def test_frames_of_every_size_arrive_whole_both_ways():
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    sizes = [1, 125, 126, 65_535, 65_536, 200_000]
    received: asyncio.Queue[bytes] = asyncio.Queue()
    async with serve(echo, "127.0.0.1", 0, compression=None) as listener:
        port = listener.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(
            lambda: Socket(f"127.0.0.1:{port}", "/", received.put_nowait), "127.0.0.1", port
        )
        await socket.opened
        for size in sizes:
            socket.send(frame(b"x" * size))
        assert [len(await received.get()) for _ in sizes] == sizes
        socket.close()


async def test_a_server_that_does_not_upgrade_is_an_error():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: Socket("127.0.0.1", "/", print), "127.0.0.1", port
    )
    with pytest.raises(ConnectionError):
        await socket.opened
    listener.close()


def test_a_stack_belongs_to_the_innermost_step_that_it_names():
    signing = ["a/b/run.py:main", "bunker/worker/engine.py:handle", "keys/signing/service.py:sign_event",
               "keycast/crypto/schnorr.py:verify"]  # fmt: skip
    assert steps.step_of(signing) == "sign and self-verify the user's event"
    assert steps.step_of(["bunker/worker/engine.py:handle"]) == "worker: the engine around the steps"
    assert steps.step_of(["x/y/z.py:f"]) == "event loop, threads, the rest"
    assert sum(steps.shares([(signing, 1.0), (["x:f"], 3.0)]).values()) == pytest.approx(1)


async def test_a_wrong_answer_ends_the_run(bunker: FakeBunker):
    wrong = {"kind": 1, "content": "something else", "tags": [], "created_at": 1}
    bunker.script["sign_event"] = lambda params: {"result": bunker.signed(wrong)}
    client = Client(Target(bunker.bunker_url(), bunker.user.public_key_hex, "11" * 32))
    await client.open()
    await client.run([client.prepare_mixed("sign_event", number) for number in range(2)])
    with pytest.raises(Exception, match="differ"):
        client.verify()


async def test_every_answer_is_verified(bunker: FakeBunker):
    client = Client(Target(bunker.bunker_url(), bunker.user.public_key_hex, "11" * 32))
    await client.open()
    await client.run([client.prepare_mixed("sign_event", number) for number in range(5)])
    assert client.verify() == 5 + 1  # and the pairing
    assert len(client.latencies) == 6


def test_the_primitives_benchmark_measures_every_step_plain_and_as_called(monkeypatch):
    monkeypatch.setattr(primitives, "CLIENTS", 3)
    costs = primitives.measure()
    assert all(set(costs[way]) == {*primitives.STEPS, "sum"} for way in ("plain", "as called"))


def test_a_split_key_is_judged_by_what_the_same_processes_can_do():
    def runs(fast, slow, cost, together=5.0):
        one = {"way": "cosigned", "clients": 100, "both_ms": cost, "per_operation": together}
        return [{**one, "latency": 0.0, "per_second": fast}, {**one, "latency": hsm.LATENCY, "per_second": slow}]

    assert [row[3] for row in hsm.targets(runs(800, 719, 0.91, 4.9))] == [False, False, False]
    assert [row[3] for row in hsm.targets(runs(800, 721, 0.89))] == [True, True, True]
    assert [row[3] for row in hsm.targets(runs(9000, 1499, 0.5))] == [True, False, True]
    assert [row[3] for row in hsm.targets(runs(9000, 1501, 0.5))] == [True, True, True]


@pytest.mark.slow
def test_every_way_of_keeping_a_key_is_measured(monkeypatch):
    monkeypatch.setattr(hsm, "CLIENTS", (1, 5))
    runs = hsm.section(quick=True)
    assert {run["way"] for run in runs} == {"encrypted", "cosigned", "nethsm", "inbox"}
    for run in runs:
        assert run["signatures"] > 0
        assert (run["b_ms"] > 0) is (run["way"] in {"cosigned", "inbox"})
        if run["way"] == "inbox":
            assert run["operations"] < run["signatures"] / 10
        else:
            assert 0 < run["p50_ms"] <= run["p99_ms"]


@pytest.mark.slow
def test_a_real_server_is_measured():
    with server.running({"keys": 2, "urls_per_key": 3, "connections": 2}) as bench:
        for method in ("sign_event", "nip44_decrypt", "mix"):
            figures = server.drive(bench, bench.targets[:3], 10, method)
            assert figures["requests"] == 30
            assert 0 < figures["p50_ms"] <= figures["p95_ms"]
            assert figures["server_us"] > 0
        assert server.drive(bench, bench.targets[3:], 5, "sign_event")["requests"] == 10
        json.dumps(figures)
