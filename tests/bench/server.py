"""A real embedded server in a folder of its own, and what it costs: CPU and memory as the kernel counts them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.demo.environment import DemoEnvironment, free_port
from keycast.demo.processes import ServerProcess
from keycast.nostr.client import BunkerClient, ClientError
from keys.signing.kms.keyfile import write_new
from tests.paths import ROOT

# The limits that protect a server from floods are not what is measured here.
OPENED_LIMITS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far: CPU seconds of all its threads, and memory in MiB."""

    cpu: float
    resident: float
    peak: float


def use_of(pid: int) -> Use:
    """Read it from /proc; children count for themselves."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm")
    )
    return Use(nanoseconds / 1e9, int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024)


@dataclass(slots=True)
class Bench:
    """A running server with its targets. ``answered`` is how long it took from nothing to its first answer, seconds."""

    pid: int
    targets: list[dict[str, str]]
    answered: float
    environment: dict[str, str]

    def use(self) -> Use:
        return use_of(self.pid)


@contextmanager
def running(population: dict[str, Any], program: Sequence[str] = ()) -> Iterator[Bench]:
    """Make a folder, fill a database in it, serve it (``program`` instead of manage.py); all is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="keycast-bench-"))
    try:
        surroundings = DemoEnvironment.prepare(folder, free_port(18_000))
        write_new(folder / "kek")
        environment = {**surroundings.environment(), **OPENED_LIMITS, "PYTHONPATH": str(ROOT)}
        environment["DJANGO_SETTINGS_MODULE"] = "keycast.settings"
        targets = populate(environment, population)
        began = time.monotonic()
        with ServerProcess(environment, surroundings.port, program) as server:
            asyncio.run(_first_answer(targets[-1]))
            yield Bench(server.pid, targets, time.monotonic() - began, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _first_answer(target: dict[str, str]) -> None:
    """Ask until somebody answers: ready is when a client gets its pong, not when a port is open."""
    secret = SecretBytes(bytes.fromhex(target["client_secret"]))
    deadline = time.monotonic() + 60
    async with BunkerClient(target["bunker_url"], keypair=Keypair.from_secret(secret), timeout=1) as client:
        while True:
            try:
                await (client.connect() if client.uri.secret else client.ping())
            except ClientError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


def populate(environment: dict[str, str], population: dict[str, Any]) -> list[dict[str, str]]:
    """Run tests.bench.population on the server's database."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.population"],
        input=json.dumps(population) + "\n",
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def drive(
    bench: Bench, targets: list[dict[str, str]], requests: int, method: str, at_start: signal.Signals | None = None
) -> dict[str, Any]:
    """One timed run of tests.bench.load; adds what the server used between the first request and the last answer."""
    plan = {"clients": targets, "requests": requests, "method": method}
    load = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **bench.environment},
    )
    assert load.stdin
    assert load.stdout
    load.stdin.write(json.dumps(plan) + "\n")
    load.stdin.flush()
    expect(load, "ready")
    time.sleep(0.5)  # let the server finish what the warm-up left it
    if at_start is not None:
        os.kill(bench.pid, at_start)
    before = bench.use()
    load.stdin.write("go\n")
    load.stdin.flush()
    expect(load, "stopped")
    after = bench.use()
    figures: dict[str, Any] = json.loads(load.stdout.readline())
    load.wait()
    cpu = 1e6 * (after.cpu - before.cpu) / figures["requests"]
    return {**figures, "method": method, "server_us": cpu, "resident_mb": after.resident, "peak_mb": after.peak}


def expect(load: subprocess.Popen[str], word: str) -> None:
    """Read one line of a child, which must be ``word``. Raises RuntimeError."""
    assert load.stdout
    line = load.stdout.readline().strip()
    if line != word:
        raise RuntimeError(f"the load ended early: {line or f'exit code {load.wait()}'}")
