"""``make mutants [ARGS="part of a name"]``: each check taken out of a copy of this tree, then its tests run there.

Prints a line a check: killed (its tests failed, as they should), SURVIVED, or broken (its tests fail without the change
too, or did not run). Exits with 1 unless every one was killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.check import Check
from tests.mutants.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600.0
FAILED, PASSED = 1, 0
"""What pytest ends with: tests failed, or all passed; anything else is neither (bad arguments, no tests)."""


def main(wanted: list[str]) -> int:
    chosen = [check for check in CHECKS if not wanted or any(part in check.name for part in wanted)]
    if not chosen:
        print("No check has such a name.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = _copy(Path(folder) / "keycast")
        results = [_one(check, tree) for check in chosen]
    alive = len(chosen) - results.count("killed")
    print(f"{len(chosen)} checks, {results.count('killed')} killed, {alive} not.")
    return 1 if alive else 0


def _copy(tree: Path) -> Path:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, names):
        source, target = ROOT / name, tree / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    return tree


def _one(check: Check, tree: Path) -> str:
    path = tree / check.path
    genuine = path.read_text(encoding="utf-8")
    path.write_text(genuine.replace(check.code, check.without), encoding="utf-8")
    try:
        ended = _tests(check, tree)
    finally:
        path.write_text(genuine, encoding="utf-8")
    result = {FAILED: "killed", PASSED: "SURVIVED"}.get(ended, "broken")
    if result == "killed" and _tests(check, tree) != PASSED:
        result = "broken"
    print(f"{result:9} {check.name}", flush=True)
    return result


def _tests(check: Check, tree: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *check.tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return FAILED  # a test that waits for ever for a refusal has noticed
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
