"""Where an interrupted import goes on: how many lines are done, and a hash that proves it is the same file."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


class ImportFileMismatch(Exception):
    """The state belongs to another input than the one given."""


@dataclass(slots=True)
class ImportState:
    """``lines`` are done, with ``counts`` by outcome. ``digest`` covers exactly those lines."""

    lines: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256, repr=False)
    expected: tuple[int, str] | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """The state that an earlier run left, or a fresh one. Raises ImportFileMismatch when it cannot be read."""
        try:
            stored = json.loads(path.read_text(encoding="ascii"))
            return cls(counts=Counter(stored["counts"]), expected=(int(stored["lines"]), str(stored["sha256"])))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError):
            raise ImportFileMismatch from None

    def passes_over(self, raw: bytes) -> bool:
        """Take note of the next line; True when the earlier run did it. Raises ImportFileMismatch if it was not this
        file."""
        if self.expected is None or self.lines >= self.expected[0]:
            return False
        self.done([raw])
        if self.lines == self.expected[0] and self.digest.hexdigest() != self.expected[1]:
            raise ImportFileMismatch
        return True

    def done(self, raws: list[bytes]) -> None:
        """These lines, in order, are done."""
        for raw in raws:
            self.digest.update(len(raw).to_bytes(8, "big") + raw)
        self.lines += len(raws)

    def save(self, path: Path) -> None:
        """Replace the file in one step, so that a kill leaves the old state or the new one."""
        stored = {"lines": self.lines, "sha256": self.digest.hexdigest(), "counts": dict(self.counts)}
        beside = path.with_name(f"{path.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(stored, file)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
