"""Where the CPU of a request goes: a run of its own under tests.bench.profiler, its stacks sorted into steps.

A stack belongs to the first rule, in order, of which it has a frame; rules name ``file:function``, or ``file:`` for any
function of a file. The order puts what is inside another step before it.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bench import server

CLIENTS, REQUESTS = 100, 60
RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sign and self-verify the user's event", ("keys/signing/service.py:sign_event",)),
    ("sign the reply", ("keys/signing/transport.py:sign", "keycast/crypto/schnorr.py:sign_unchecked")),
    ("verify the request's signature", ("keycast/crypto/schnorr.py:verify", "keycast/nostr/nip01.py:verify_event")),
    ("NIP-44 decrypt the request", ("keys/signing/transport.py:decrypt",)),
    ("NIP-44 encrypt the reply", ("keys/signing/transport.py:encrypt",)),
    ("NIP-44 and NIP-04 of the user's key", ("keycast/nostr/nip44.py:", "keycast/nostr/nip04.py:")),
    ("audit rows: hash chain", ("keycast/audit/chain.py:", "keycast/audit/writer.py:", "keycast/audit/services.py:")),
    (
        "database: claims, results, commits",
        ("bunker/worker/group_commit.py:", "bunker/worker/commit_", "bunker/worker/sql.py:"),
    ),
    ("policy", ("bunker/policy/",)),
    (
        "parse and check events",
        ("bunker/relays/event_checks.py:", "keycast/nostr/nip01.py:", "keycast/nostr/nip46.py:"),
    ),
    ("worker: the engine around the steps", ("bunker/worker/", "bunker/methods/")),
    ("relay: sessions, routing", ("bunker/relays/",)),
    ("websocket frames", ("protocols/websockets/", "websockets/", "uvicorn/")),
    ("the profiler itself", ("tests/bench/profiler.py:",)),
)


def profile_run() -> dict[str, float]:
    """``{step: share of the CPU}`` of sign_event at 100 clients."""
    out = Path(tempfile.mkdtemp(prefix="keycast-profile-")) / "stacks.json"
    program = ("-m", "tests.bench.profiler", str(out))
    with server.running({"keys": 1, "urls_per_key": CLIENTS, "connections": 0}, program=program) as bench:
        server.drive(bench, bench.targets, REQUESTS, "sign_event", at_start=signal.SIGUSR1)
    return shares(json.loads(out.read_text()))


def shares(stacks: Iterable[tuple[list[str], float]]) -> dict[str, float]:
    """Sort stacks into steps. The profiler's own cost is left out."""
    spent: Counter[str] = Counter()
    for stack, seconds in stacks:
        spent[step_of(stack)] += seconds
    spent.pop("the profiler itself", None)
    total = sum(spent.values())
    return {step: seconds / total for step, seconds in spent.items()}


def step_of(stack: list[str]) -> str:
    for step, marks in RULES:
        if any(mark in frame for frame in stack for mark in marks):
            return step
    return "event loop, threads, the rest"


def hottest(stacks: Iterable[tuple[list[str], float]], count: int = 40) -> list[tuple[str, float]]:
    """The functions that used most CPU themselves, for whoever wants to make it faster."""
    spent: Counter[str] = Counter()
    for stack, seconds in stacks:
        spent[stack[-1] if stack else "?"] += seconds
    return spent.most_common(count)
