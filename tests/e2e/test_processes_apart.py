"""The scaled shape: web processes and a worker apart, Redis in between. A client notices nothing of it."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from keycast.demo.environment import free_port
from keycast.demo.processes import ServerProcess
from tests.e2e.live import ROOT, LiveServer, live

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]


@contextmanager
def redis() -> Iterator[str]:
    port = free_port(20_000 + secrets.randbelow(20_000))
    arguments = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "bunker"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors[-2000:]
    finally:
        process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with redis() as url, live({"REDIS_URL": url, "KEYCAST_EMBEDDED": "0"}, worker) as running:
        yield running


def ask(server: LiveServer, *arguments: str) -> dict[str, object]:
    """Run our own client once; it may come before the worker holds its leases, so it may try again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return dict(json.loads(server.manage("nip46", *arguments, "--json")))
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def test_a_request_crosses_from_the_relay_to_the_worker_and_back(server: LiveServer) -> None:
    answer = ask(server, "ping", "--bunker", server.bunker_url())
    assert answer


def test_a_key_made_after_the_start_is_reached_over_the_web_process_that_was_there(server: LiveServer) -> None:
    ask(server, "ping", "--bunker", server.bunker_url())  # the worker holds its leases
    npub, _ = server.create_key("made meanwhile")
    assert json.loads(server.manage("nip46", "ping", "--bunker", server.bunker_url(key=npub), "--json"))


def test_a_request_over_a_second_web_process_reaches_a_key_made_after_start(server: LiveServer) -> None:
    npub, _ = server.create_key("made later")
    with ExitStack() as stack:
        port = free_port(20_000 + secrets.randbelow(20_000))
        stack.enter_context(ServerProcess(server.environment, port))
        url = server.bunker_url(key=npub)
        here = urlsplit(server.relay_url).netloc
        there = urlunsplit(("", f"{here.partition(':')[0]}:{port}", "", "", ""))[2:]
        answer = ask(server, "ping", "--bunker", url.replace(here.replace(":", "%3A"), there.replace(":", "%3A")))
        assert answer


def test_a_separate_worker_signs_for_several_clients_in_turn(server: LiveServer) -> None:
    urls = [server.bunker_url() for _ in range(2)]
    ask(server, "ping", "--bunker", server.bunker_url())
    found = json.loads(
        server.manage(
            "nip46",
            "bench",
            "--clients",
            "2",
            "--duration",
            "3",
            "--json",
            *(part for url in urls for part in ("--bunker", url)),
        )
    )
    assert (found["refused"], found["refusals"]) == (0, [])
    assert found["signed"] > 2
