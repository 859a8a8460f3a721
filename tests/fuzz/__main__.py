"""``python -m tests.fuzz [--seconds N] [--target NAME]``: look for inputs that reach new lines, and for faults.

Prints a line a target. A fault is printed with its input (base64) and ends the run with 1: add the input to the corpus,
and the test fails until it is mended.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = str(Path(__file__).resolve().parents[2])
PRODUCT = tuple(f"{ROOT}/{name}/" for name in ("keycast", "keys", "bunker", "accounts"))


OWN = re.compile(r"(Invalid value|can't decode).*|\d+", re.DOTALL)
"""What of a refusal's text is the input's own."""


class Reached:
    """Steps from line to line within the product while a function runs (sys.settrace), and ways in which it ended.

    The ends guide where the steps are in C: what a message of the signer or the co-signer is, msgspec decides.
    """

    def __init__(self) -> None:
        self.steps: set[tuple[str, int, int]] = set()

    def end(self, how: str) -> None:
        """Count a way to end: the type of what was read, or a refusal without what is the input's own."""
        self.steps.add((how, 0, 0))

    def run(self, call: Callable[[], object]) -> bool:
        """Whether ``call`` took a step that none before it took."""
        before = len(self.steps)
        sys.settrace(self._enter)
        try:
            call()
        finally:
            sys.settrace(None)
        return len(self.steps) > before

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PRODUCT):
            return None
        last = frame.f_lineno

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                self.steps.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--target", help="this one alone")
    options = parser.parse_args()
    os.environ.setdefault("KEYCAST_ENVIRONMENT", "test")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from tests.fuzz import corpus
    from tests.fuzz.mutating import mutated
    from tests.fuzz.targets import TARGETS, Target

    def look(target: Target, seconds: float) -> int:
        """Fuzz one target; how many faults."""
        reached, draw = Reached(), random.Random()  # noqa: S311 -- not for keys

        def tried(data: bytes) -> bool:
            def call() -> None:
                try:
                    reached.end(type(target.read(data)).__name__)
                except target.refusals as refusal:
                    reached.end(f"{type(refusal).__name__}: {OWN.sub('#', str(refusal))[:80]}")

            return reached.run(call)

        for data in target.seeds:
            tried(data)
        pool = [*target.seeds, *(data for data in corpus.kept(target.name) if tried(data))]
        until, runs = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            data = mutated(draw, pool)
            runs += 1
            try:
                if tried(data):
                    pool.append(data)
            except Exception as fault:  # what is looked for
                print(f"{target.name}: {type(fault).__name__}: {base64.b64encode(data).decode()}", file=sys.stderr)
                return 1
        corpus.keep(target.name, [data for data in pool if data not in target.seeds])
        print(f"{target.name}: {runs} inputs, {len(reached.steps)} steps, {len(pool)} kept", flush=True)
        return 0

    chosen = [target for target in TARGETS if options.target in {None, target.name}]
    faults = sum(look(target, options.seconds / len(chosen)) for target in chosen)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
