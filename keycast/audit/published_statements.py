"""Checkpoints and cuts that were kept outside of the database, as a verifier reads them back. No database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keycast.audit.merkle import is_consistent
from keycast.audit.statements import Checkpoint, Cut, Keyring, StatementError, from_line


@dataclass(slots=True)
class ChainCheckpoints:
    """The checkpoints of one chain, by size."""

    by_size: dict[int, list[Checkpoint]] = field(default_factory=dict)

    def at(self, size: int) -> Iterable[Checkpoint]:
        return self.by_size.get(size, ())

    def beyond(self, size: int) -> Checkpoint | None:
        """The first one of a longer chain."""
        sizes = [each for each in self.by_size if each > size]
        return self.by_size[min(sizes)][0] if sizes else None


@dataclass(frozen=True, slots=True)
class CheckpointFileProblem:
    """A line that cannot be believed, or does not fit the others. ``line`` counts from 1."""

    line: int
    chain: str
    detail: str


@dataclass(slots=True)
class CheckpointFile:
    """All of a file. What cannot be believed is not among ``chains`` but in ``doubts``."""

    chains: dict[str, ChainCheckpoints] = field(default_factory=dict)
    doubts: list[CheckpointFileProblem] = field(default_factory=list)
    count: int = 0

    def of(self, chain: str) -> ChainCheckpoints:
        return self.chains.get(chain) or ChainCheckpoints()


def read(lines: Iterable[Mapping[str, Any]], keys: Keyring) -> CheckpointFile:
    """Every checkpoint of a file: signed by a trusted key, numbered in order, each tree a beginning of the next."""
    found, last = CheckpointFile(), dict[str, Checkpoint]()
    for number, line in enumerate(lines, 1):
        try:
            _read_line(found, last, number, line, keys)
        except StatementError as error:
            found.doubts.append(CheckpointFileProblem(number, "", f"{str(error).capitalize()}."))
    return found


def _read_line(
    found: CheckpointFile, last: dict[str, Checkpoint], number: int, line: Mapping[str, Any], keys: Keyring
) -> None:
    kind: type[Checkpoint] | type[Cut] = Cut if "cut" in line else Checkpoint
    statement, signature = from_line(kind, line.get("cut", line.get("checkpoint")))
    problem = keys.problem(statement, signature)
    if isinstance(statement, Cut) or problem:
        if problem:
            found.doubts.append(CheckpointFileProblem(number, statement.chain, problem))
        return
    before = last.get(statement.chain)
    if before == statement:  # written twice, after a crash
        return
    problem = _misfit(before, statement, line.get("consistency"))
    if problem:
        found.doubts.append(CheckpointFileProblem(number, statement.chain, problem))
    last[statement.chain] = statement
    found.chains.setdefault(statement.chain, ChainCheckpoints()).by_size.setdefault(statement.size, []).append(
        statement
    )
    found.count += 1


def _misfit(before: Checkpoint | None, after: Checkpoint, consistency: Any) -> str:
    """Why two checkpoints in a row do not belong together; empty when they do."""
    if before is None:
        return ""  # the file may begin later than the chain
    if after.number != before.number + 1 or after.previous != before.digest():
        return f"Checkpoint {after.number} does not follow checkpoint {before.number}: a fork, or a line is missing."
    try:
        path = [bytes.fromhex(each) for each in consistency]
        roots = (before.size, bytes.fromhex(before.root)), (after.size, bytes.fromhex(after.root))
    except (TypeError, ValueError):
        return "Its proof of consistency cannot be read."
    return "" if is_consistent(*roots, path) else "Its tree does not contain the one before it."
