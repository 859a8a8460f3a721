"""``make bench`` (``python -m tests.bench``): one run, printed as it comes; ``--json FILE`` keeps the figures too."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keycast.settings")
os.environ.setdefault("KEYCAST_ENVIRONMENT", "development")
os.environ.setdefault("EMAIL_URL", "dummymail://")  # owners are mailed about each app that connects

from tests.bench import hsm, primitives, server, siege, steps

CPU_RATIO, CPU_CEILING, CPU_REFERENCE = 1.6, 560.0, 330.0
SLACK = 1.1
"""How much dearer than with one key a request may look: two runs of one and the same server differ by as much."""
P50_TARGET, START_TARGET, MEMORY_TARGET = 5.0, 10.0, 300.0
REQUESTS = {1: 600, 10: 200, 100: 80}
REPEATS = 3
"""How often sign_event at 100 clients is measured; the median counts."""
SECTIONS = ("relay", "scale", "hsm", "siege")
_ONLY = "of relay (one key over the built-in relay), scale (many keys), hsm (ways of keeping a key), siege"
METHODS = ("sign_event", "nip44_decrypt", "mix")


def main() -> None:
    options = _options()
    figures: dict[str, Any] = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    print(f"Keycast benchmark, {figures['at']}, {figures['machine']}\n", flush=True)
    if "relay" in options.only:
        before = primitives.measure()
        figures["runs"] = one_key(options.quick)
        figures["primitives"] = show_primitives(before, primitives.measure())
    if "relay" in options.only and not options.no_profile:
        figures["steps"] = show_steps(figures["runs"])
    if "scale" in options.only and not options.no_scale:
        figures["scale"] = at_scale(options.keys, options.connections, options.quick)
    if "hsm" in options.only:
        figures["hsm"] = hsm.section(options.quick)
    if "siege" in options.only:
        figures["siege"] = siege.section(options.quick)
    figures["targets"] = show_targets(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the requests: a first look")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=_ONLY)
    parser.add_argument("--no-scale", action="store_true", help="leave out the part with many keys")
    parser.add_argument("--no-profile", action="store_true", help="leave out the profile")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def machine() -> str:
    """The machine, as far as it matters."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {load:.2f} at the start, commit {commit.stdout.strip() or 'unknown'}"
    )


def show_primitives(before: primitives.Costs, after: primitives.Costs) -> primitives.Costs:
    """Print the mean of two measurements, one on either side of the runs: the machine is rarely ours alone."""
    costs = {
        way: {step: (before[way][step] + after[way][step]) / 2 for step in (*primitives.STEPS, "sum")} for way in before
    }
    print("Bare primitives of one sign_event request, CPU in us (mean of before and after the runs)")
    print(f"  {'':20}{'plain calls':>12}{'as called here':>16}")
    for step in (*primitives.STEPS, "sum"):
        print(f"  {step:20}{costs['plain'][step]:12.1f}{costs['as called'][step]:16.1f}")
    sums = f"{before['plain']['sum']:.0f} before, {after['plain']['sum']:.0f} after"
    print(f"  plain calls: {sums}; how far they differ is the noise of this machine\n", flush=True)
    return costs


def one_key(quick: bool) -> list[dict[str, Any]]:
    """Every method with 1, 10 and 100 clients of one key, on one server."""
    print("One key, one worker process, clients over the built-in relay, SQLite with synchronous=FULL")
    _header()
    runs = []
    with server.running({"keys": 1, "urls_per_key": max(REQUESTS), "connections": 0}) as bench:
        for method in METHODS:
            for clients, requests in REQUESTS.items():
                count = requests // 4 if quick else requests
                repeats = REPEATS if (method, clients) == ("sign_event", max(REQUESTS)) else 1
                several = [_run(bench, bench.targets[:clients], count, method) for _ in range(repeats)]
                runs.append(sorted(several, key=lambda run: float(run["server_us"]))[repeats // 2])
        print(f"  first answer {bench.answered:.1f} s after the start of the process\n", flush=True)
    return runs


def _header() -> None:
    print(f"  {'':16}{'clients':>8}{'per s':>9}{'p50 ms':>9}{'p95 ms':>9}{'server us':>11}{'RSS MB':>8}{'peak':>7}")


def _run(bench: server.Bench, targets: list[dict[str, str]], requests: int, method: str) -> dict[str, Any]:
    run = server.drive(bench, targets, requests, method)
    print(
        f"  {method:16}{run['clients']:8}{run['per_second']:9.0f}{run['p50_ms']:9.2f}{run['p95_ms']:9.2f}"
        f"{run['server_us']:11.0f}{run['resident_mb']:8.0f}{run['peak_mb']:7.0f}",
        flush=True,
    )
    return run


def _of(runs: list[dict[str, Any]], method: str, clients: int) -> dict[str, Any]:
    return next(run for run in runs if (run["method"], run["clients"]) == (method, clients))


def show_steps(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Where the CPU of a sign_event goes, from a run of its own under a sampling profiler."""
    total = _of(runs, "sign_event", 100)["server_us"]
    shares = steps.profile_run()
    print(f"CPU of one sign_event by step at 100 clients (shares of a profiled run, of {total:.0f} us)")
    for step, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {step:44}{share:7.1%}{share * total:9.1f} us")
    print(flush=True)
    return shares


def at_scale(keys: int, connections: int, quick: bool) -> dict[str, Any]:
    """The same requests with many keys in the database, in turn with a server that has one: noise meets both alike."""
    print(f"{keys:,} keys and {connections:,} connections, 100 clients of 100 different keys; in turn with one key")
    _header()
    count = REQUESTS[100] // (4 if quick else 1)
    with (
        server.running({"keys": keys, "urls_per_key": 0, "connections": connections}) as many,
        server.running({"keys": 1, "urls_per_key": 100, "connections": 0}) as one,
    ):
        idle = many.use()
        pairs = [
            (
                _run(many, many.targets[: min(100, keys)], count, "sign_event"),
                _run(one, one.targets, count, "sign_event"),
            )
            for _ in range(REPEATS)
        ]
        print(f"  first answer {many.answered:.1f} s after the start, {idle.resident:.0f} MB then\n", flush=True)
    cost, control = (median(pair[place]["server_us"] for pair in pairs) for place in (0, 1))
    peak = max(pair[0]["peak_mb"] for pair in pairs)
    return {"first_answer": many.answered, "peak_mb": peak, "server_us": cost, "one_key_us": control}


Target = tuple[str, float, float, bool]
"""What, measured, its limit, and whether it is met."""


def show_targets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows = _relay_targets(figures) if "runs" in figures else []
    if scale := figures.get("scale"):
        rows += [
            _at_most("first answer with many keys, s", scale["first_answer"], START_TARGET),
            _at_most("peak memory with many keys, MB", scale["peak_mb"], MEMORY_TARGET),
            _at_most("CPU of a sign_event with many keys, us", scale["server_us"], SLACK * scale["one_key_us"]),
        ]
    rows += hsm.targets(figures["hsm"]) if "hsm" in figures else []
    rows += siege.targets(figures["siege"]) if "siege" in figures else []
    print(f"{'Targets':50}{'measured':>10}{'limit':>10}")
    for name, measured, limit, is_met in rows:
        print(f"  {name:48}{measured:10.2f}{limit:10.2f}  {'met' if is_met else 'MISSED'}")
    return [
        {"name": name.strip(), "measured": measured, "limit": limit, "met": is_met}
        for name, measured, limit, is_met in rows
    ]


def _relay_targets(figures: dict[str, Any]) -> list[Target]:
    run, costs = _of(figures["runs"], "sign_event", 100), figures["primitives"]
    plain, own = costs["plain"]["sum"], costs["as called"]["sum"]
    print(
        f"sign_event takes {run['server_us'] / own:.2f} times its primitives as this code calls them ({own:.0f} us)\n"
    )
    ceiling = min(CPU_RATIO * plain, CPU_CEILING * max(1.0, plain / CPU_REFERENCE))
    return [
        _at_most("CPU of a sign_event at 100 clients, us", run["server_us"], ceiling),
        _at_most(f"  over plain primitives ({plain:.0f} us)", run["server_us"] / plain, CPU_RATIO),
        _at_most("p50 of sign_event at 1 client, ms", _of(figures["runs"], "sign_event", 1)["p50_ms"], P50_TARGET),
    ]


def _at_most(name: str, measured: float, limit: float) -> Target:
    return name, measured, limit, measured <= limit


if __name__ == "__main__":
    main()
