"""Walking chains from their beginning to their head, and naming the first row that does not fit.

A chain begins with its genesis or, where retention cut it, behind the last signed cut. On the way its Merkle tree grows
along, and is compared with every checkpoint: those of the database, and those that were kept outside of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from keycast.audit.chain import genesis, row_hash
from keycast.audit.merkle import Frontier
from keycast.audit.models import AuditChain, AuditCheckpoint, AuditCut, AuditRow
from keycast.audit.published_statements import ChainCheckpoints, CheckpointFile
from keycast.audit.reading import page_after
from keycast.audit.signing import trusted
from keycast.audit.statements import Checkpoint, Keyring

CHUNK = 2000


@dataclass(frozen=True, slots=True)
class ChainFault:
    """The first thing wrong with a chain: at which row (``sequence``, None for the head itself), and what."""

    chain: str
    sequence: int | None
    problem: str
    detail: str


class ChainHead(TypedDict):
    """Where a chain stood."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What a verification found; ``rows`` counts the rows that were read, ``checkpoints`` those that were compared.

    ``heads`` has sequence and hash (hex) of each chain's head: kept elsewhere, it shows later what was cut off.
    """

    chains: int = 0
    rows: int = 0
    faults: list[ChainFault] = field(default_factory=list)
    heads: dict[str, ChainHead] = field(default_factory=dict)
    checkpoints: int = 0

    @property
    def is_intact(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """For JSON: intact, chains, rows, checkpoints, faults (chain, sequence, problem, detail), heads by chain."""
        return {
            "intact": self.is_intact,
            "chains": self.chains,
            "rows": self.rows,
            "checkpoints": self.checkpoints,
            "faults": [asdict(fault) for fault in self.faults],
            "heads": self.heads,
        }


def verify(
    chain: str | None = None,
    *,
    expected: Iterable[str] = (),
    kept: Mapping[str, ChainHead] | None = None,
    outside: CheckpointFile | None = None,
    keys: Keyring | None = None,
) -> VerificationReport:
    """Check one chain, or all of them and those ``expected`` to exist, in constant memory.

    At most one fault, the first, is reported per chain. The head is read before the rows, so rows appended meanwhile
    are no fault. Cutting off the last rows *and* rewinding the head to match leaves a chain that is right in itself:
    only what was kept outside the database shows it, ``kept`` heads of an earlier report or checkpoints (``outside``).
    """
    kept, outside = kept or {}, outside or CheckpointFile()
    names = [chain] if chain is not None else sorted({*all_names(), *expected, *kept, *outside.chains})
    rows, checkpoints, faults, heads = 0, 0, [], {}
    for name in names:
        walk = ChainVerifier(name, outside=outside.of(name), keys=keys)
        walk.run()
        rows, checkpoints = rows + walk.count, checkpoints + walk.compared
        fault = walk.fault or _fault_of_kept(name, kept.get(name))
        if fault:
            faults.append(fault)
        elif walk.head:
            heads[name] = walk.head
    return VerificationReport(len(names), rows, faults, heads, checkpoints)


def all_names() -> set[str]:
    """Every chain that has a head, rows or a checkpoint."""
    heads = AuditChain.objects.values_list("name", flat=True)
    stated = AuditCheckpoint.objects.order_by().values_list("chain", flat=True).distinct()
    return {*heads, *stated, *AuditRow.objects.order_by().values_list("chain", flat=True).distinct()}


class ChainVerifier:
    """One chain, verified in one go or in slices; ``position`` carries it over to another process.

    When it has ended, ``fault`` says what is wrong, if anything, ``head`` where the chain stood when it began, and
    ``count`` and ``compared`` how many rows and checkpoints were looked at. ``since``: a checkpoint to begin behind.
    """

    def __init__(
        self,
        chain: str,
        *,
        outside: ChainCheckpoints | None = None,
        keys: Keyring | None = None,
        since: AuditCheckpoint | None = None,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        self.chain = chain
        self.count = self.compared = 0
        self.fault: ChainFault | None = None
        self.is_done = False
        self._outside = outside or ChainCheckpoints()
        self._keys = trusted() if keys is None else keys
        self._tree: Frontier | None = Frontier()
        self._sequence, self._previous = 0, genesis(chain)
        self._link: Checkpoint | None = None
        if position is not None:
            self._take_up(position)
            return
        found = AuditChain.objects.filter(name=chain).values_list("sequence", "head").first()
        self.head = ChainHead(sequence=found[0], hash=bytes(found[1]).hex()) if found else None
        self._begin(since)

    @property
    def position(self) -> dict[str, Any]:
        """Where the next slice begins, for JSON."""
        tree = None if self._tree is None else [self._tree.size, self._tree.packed.hex()]
        return {
            "chain": self.chain,
            "head": self.head,
            "sequence": self._sequence,
            "previous": self._previous.hex(),
            "tree": tree,
            "link": None if self._link is None else asdict(self._link),
        }

    def run(self, until: float | None = None) -> bool:
        """Go on to the end, or until that moment (time.monotonic); whether the end was reached."""
        while not self.is_done and (until is None or time.monotonic() < until):
            self._advance()
        return self.is_done

    # --- where it begins ---

    def _take_up(self, position: Mapping[str, Any]) -> None:
        self.head = position["head"]
        self._sequence, self._previous = position["sequence"], bytes.fromhex(position["previous"])
        tree = position["tree"]
        self._tree = None if tree is None else Frontier.from_bytes(tree[0], bytes.fromhex(tree[1]))
        self._link = None if position["link"] is None else Checkpoint(**position["link"])

    def _begin(self, since: AuditCheckpoint | None) -> None:
        if self.head is None:
            self._end_without_head()
            return
        # The cut before the checkpoint: one below it speaks of rows that are gone.
        cut = AuditCut.objects.filter(chain=self.chain).order_by("-through").first()
        if cut is not None:
            self._begin_behind(cut)
        if since is not None and since.size > self._sequence and not self.is_done:
            self._begin_at(since)

    def _begin_at(self, point: AuditCheckpoint) -> None:
        problem = self._keys.problem(point.statement, bytes(point.signature))
        if problem:
            self._stop(point.size, "checkpoint-forged", f"Checkpoint {point.number} cannot be believed. {problem}")
            return
        self._sequence, self._previous, self._link = point.size, bytes.fromhex(point.head), point.statement
        self._tree = _tree_of(point)

    def _begin_behind(self, cut: AuditCut) -> None:
        problem = self._keys.problem(cut.statement, bytes(cut.signature))
        point = AuditCheckpoint.objects.filter(chain=self.chain, size=cut.through).first()
        if problem or point is None or (point.root, point.head) != (cut.root, cut.head):
            detail = problem or "There is no checkpoint that it ends with."
            self._stop(cut.through, "cut-forged", f"The cut of rows 1 to {cut.through} cannot be believed. {detail}")
            return
        self._begin_at(point)
        left = AuditRow.objects.filter(chain=self.chain, sequence__lte=cut.through).order_by("sequence")
        row = None if self.is_done else left.values_list("sequence", flat=True).first()
        if row is not None:
            detail = f"It stands below the cut at {cut.through}: cut_audit was interrupted, or somebody put it there."
            self._stop(row, "below-the-cut", detail)

    def _end_without_head(self) -> None:
        first = (
            AuditRow.objects.filter(chain=self.chain).order_by("sequence").values_list("sequence", flat=True).first()
        )
        if first is not None:
            self._stop(None, "head-missing", "There are rows, but the head of the chain is gone.")
        else:
            self._stop(None, "chain-missing", "There is no such chain, or all of it was removed.")

    # --- row by row ---

    def _advance(self) -> None:
        """One page of rows, compared with the checkpoints that lie in it."""
        page = self._page()
        stated = self._checkpoints(page)
        for row in page:
            self.count += 1
            expected = self._sequence + 1
            self.fault = _fault_of_row(row, expected, self._previous)
            if self.fault:
                self.is_done = True
                return
            self._sequence, self._previous = expected, bytes(row[-1])
            if self._tree is not None:
                self._tree.add(self._previous)
            for point in stated.get(expected, ()):
                if not self._agrees(point):
                    return
            if not self._agrees_outside():
                return
        if len(page) < CHUNK:
            self._finish()

    def _page(self) -> list[tuple[Any, ...]]:
        # From the very first row on, whatever its number: one may stand before number 1.
        return page_after(self.chain, self._sequence or None, CHUNK)

    def _checkpoints(self, page: list[tuple[Any, ...]]) -> dict[int, list[AuditCheckpoint]]:
        if not page:
            return {}
        found: dict[int, list[AuditCheckpoint]] = {}
        for point in AuditCheckpoint.objects.filter(chain=self.chain, size__gt=self._sequence, size__lte=page[-1][1]):
            found.setdefault(point.size, []).append(point)
        return found

    def _agrees(self, point: AuditCheckpoint) -> bool:
        """Whether the rows so far are those of a checkpoint in the database, and it follows the one before."""
        self.compared += 1
        # The signature first: a forged checkpoint must not be reported as rows that were changed.
        problem = self._keys.problem(point.statement, bytes(point.signature)) if self._keys else ""
        if problem:
            self._stop(point.size, "checkpoint-forged", f"Checkpoint {point.number} cannot be believed. {problem}")
            return False
        if not self._is(point.statement):
            return False
        expected = (self._link.number + 1, self._link.digest()) if self._link else (1, None)
        if point.number != expected[0] or (expected[1] is not None and point.previous != expected[1]):
            detail = f"Checkpoint {point.number} does not follow the one before it: one is missing."
            self._stop(point.size, "checkpoint-missing", detail)
            return False
        self._link = point.statement
        return True

    def _agrees_outside(self) -> bool:
        for point in self._outside.at(self._sequence):
            self.compared += 1
            if not self._is(point):
                return False
        return True

    def _is(self, stated: Checkpoint) -> bool:
        # Where the stored peaks could not be believed there is no tree. The head, which is compared too, covers every
        # row before it by the chain of hashes.
        root = self._tree.root().hex() if self._tree is not None else stated.root
        if (stated.head, stated.root) == (self._previous.hex(), root):
            return True
        detail = f"The rows up to here are not those that checkpoint {stated.number} was signed for."
        self._stop(stated.size, "rewritten", detail)
        return False

    # --- how it ends ---

    def _finish(self) -> None:
        assert self.head is not None  # noqa: S101 -- a chain without a head has ended before
        self.is_done = True
        # The head first: it says how many rows are missing, a checkpoint only that there were more.
        self.fault = self._fault_of_head(self.head) or self._fault_of_missing_end()

    def _fault_of_head(self, head: ChainHead) -> ChainFault | None:
        last = self._sequence
        if last < head["sequence"]:
            detail = f"Rows {last + 1} to {head['sequence']} are missing at the end."
            return ChainFault(self.chain, last + 1, "truncated", detail)
        at_head = self._previous.hex()
        # Rows were written while this was reading: what counts is the row that was the last one when it began.
        if last > head["sequence"]:
            row = AuditRow.objects.filter(chain=self.chain, sequence=head["sequence"]).values_list("hash", flat=True)
            found = row.first()
            at_head = bytes(found).hex() if found is not None else self._start_hash(head["sequence"])
        if at_head != head["hash"]:
            return ChainFault(
                self.chain, head["sequence"], "head-differs", "The head of the chain does not fit this row."
            )
        # Read again, for every new row moves it: a row beyond the head of this moment was not written by this program.
        now = AuditChain.objects.filter(name=self.chain).values_list("sequence", flat=True).first() or 0
        if now < last:
            return ChainFault(self.chain, now + 1, "inserted", "A row stands behind the head of the chain.")
        return None

    def _start_hash(self, sequence: int) -> str:
        """The hash that stands before a chain's first row."""
        return genesis(self.chain).hex() if sequence == 0 else ""

    def _fault_of_missing_end(self) -> ChainFault | None:
        """Whether a checkpoint speaks of rows that are not there."""
        beyond = AuditCheckpoint.objects.filter(chain=self.chain, size__gt=self._sequence).order_by("size").first()
        statement = beyond.statement if beyond else self._outside.beyond(self._sequence)
        if statement is None:
            return None
        detail = (
            f"The chain had {statement.size} rows when checkpoint {statement.number} was signed: "
            "its end was cut off, or this is an older database."
        )
        return ChainFault(self.chain, self._sequence + 1, "cut", detail)

    def _stop(self, sequence: int | None, problem: str, detail: str) -> None:
        self.is_done, self.fault = True, ChainFault(self.chain, sequence, problem, detail)


def _tree_of(point: AuditCheckpoint) -> Frontier | None:
    """The tree at a checkpoint, if the peaks kept beside it are those of its root; they are not signed themselves."""
    try:
        tree = Frontier.from_bytes(point.size, bytes(point.frontier))
    except ValueError:
        return None
    return tree if tree.root().hex() == point.root else None


def _fault_of_row(row: tuple[Any, ...], expected: int, previous: bytes) -> ChainFault | None:
    *body, stored_previous, stored = row
    name, sequence = body[0], body[1]
    follows = bytes(stored_previous) == previous
    # The number before the hashes: a missing row breaks the chain of the one after it too, and the first says more.
    if sequence != expected:
        if sequence < expected:
            return ChainFault(name, sequence, "inserted", "A row stands before the first.")
        return ChainFault(name, expected, "deleted", f"Rows {expected} to {sequence - 1} are missing.")
    if row_hash(bytes(stored_previous), tuple(body)) != bytes(stored):
        if follows:
            return ChainFault(name, sequence, "edited", "The row was changed after it was written.")
        return ChainFault(name, sequence, "moved", "The row was changed, or written for another place in the chain.")
    if not follows:
        return ChainFault(
            name, sequence, "replaced", "It does not continue the row before it: one was put in the other's place."
        )
    return None


def _fault_of_kept(name: str, kept: ChainHead | None) -> ChainFault | None:
    """Whether the row that was the last one then is still what it was."""
    if kept is None or kept["sequence"] == 0:
        return None
    # Retention may have taken the row since; without a cut its absence is a fault.
    cut = AuditCut.objects.filter(chain=name, through__gte=kept["sequence"]).exists()
    found = AuditRow.objects.filter(chain=name, sequence=kept["sequence"]).values_list("hash", flat=True).first()
    if found is None:
        return (
            None if cut else ChainFault(name, kept["sequence"], "cut", "The chain was longer when its head was kept.")
        )
    if bytes(found).hex() != kept["hash"]:
        return ChainFault(name, kept["sequence"], "rewritten", "Another row stood here when the head was kept.")
    return None
