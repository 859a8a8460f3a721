"""What an honest client notices of fifty strangers that send the dearest the limits let them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import server
from tests.paths import ROOT

WHAT = {
    "requests": "the dearest REQs",
    "events": "the dearest EVENTs",
    "admitted": "small requests of an admitted app",
}
CLIENTS = 20
REQUESTS = 1_000
FILL = 250
"""Requests of each client beforehand, so that there are replies to look through."""
RATIO = 2.0


@contextmanager
def besieged(bench: server.Bench, what: str, clients: list[dict[str, str]]) -> Iterator[dict[str, float]]:
    """Strangers at work meanwhile; what they sent stands in the yielded dict afterwards."""
    strangers = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.strangers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **bench.environment},
    )
    sent: dict[str, float] = {}
    try:
        assert strangers.stdin
        assert strangers.stdout
        strangers.stdin.write(json.dumps({"what": what, "clients": clients}) + "\n")
        strangers.stdin.flush()
        server.expect(strangers, "ready")
        yield sent
        strangers.stdin.write("stop\n")
        strangers.stdin.flush()
        sent.update(json.loads(strangers.stdout.readline()))
    finally:
        strangers.kill()
        strangers.wait()


def section(quick: bool) -> list[dict[str, Any]]:
    """One honest client's latency before, during and after each siege."""
    count = REQUESTS // 4 if quick else REQUESTS
    print("One client signs one event after the other; 50 strangers from 50 addresses meanwhile, times in ms")
    print(f"  {'':36}{'p50':>8}{'p99':>8}{'per s':>8}{'server MB':>11}{'strangers, frames/s':>21}")
    sieges = []
    with server.running({"keys": 1, "urls_per_key": CLIENTS, "connections": 0}) as bench:
        honest, others = bench.targets[:1], bench.targets[1:]
        server.drive(bench, others, FILL // 4 if quick else FILL, "sign_event")
        for what, title in WHAT.items():
            before = _run(f"before {title}", bench, honest, count)
            with besieged(bench, what, others) as sent:
                during = server.drive(bench, honest, count, "sign_event")
            _show(f"during {title}", during, sent["per_second"])
            after = _run(f"after {title}", bench, honest, count)
            sieges.append({"what": what, "before": before, "during": during, "after": after, "strangers": sent})
    print(flush=True)
    return sieges


def _run(title: str, bench: server.Bench, targets: list[dict[str, str]], count: int) -> dict[str, Any]:
    run = server.drive(bench, targets, count, "sign_event")
    _show(title, run)
    return run


def _show(title: str, run: dict[str, Any], frames: float | None = None) -> None:
    sent = "" if frames is None else f"{frames:21.0f}"
    figures = f"{run['p50_ms']:8.2f}{run['p99_ms']:8.2f}{run['per_second']:8.0f}{run['resident_mb']:11.0f}"
    print(f"  {title:36}{figures}{sent}", flush=True)


def targets(sieges: list[dict[str, Any]]) -> list[tuple[str, float, float, bool]]:
    """p99 during a siege, over the mean of before and after."""
    rows = []
    for siege in sieges:
        quiet = (siege["before"]["p99_ms"] + siege["after"]["p99_ms"]) / 2
        ratio = siege["during"]["p99_ms"] / quiet
        rows.append((f"p99 during {WHAT[siege['what']]}, over quiet", ratio, RATIO, ratio <= RATIO))
    return rows
