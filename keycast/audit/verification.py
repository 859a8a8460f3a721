"""Walking chains from their genesis to their head, and naming the first row that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict, cast

from keycast.audit.chain import Body, genesis, row_hash
from keycast.audit.models import AuditChain, AuditRow

CHUNK = 2000
_BODY = (
    *("chain", "sequence", "at", "tag", "outcome", "actor_type", "actor_id", "actor_label"),
    *("key_id", "connection_id", "request_id", "data"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing wrong with a chain: at which row (``sequence``, None for the head itself), and what."""

    chain: str
    sequence: int | None
    problem: str
    detail: str


class Head(TypedDict):
    """Where a chain stood."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found; ``rows`` counts the rows that were read.

    ``heads`` has sequence and hash (hex) of each chain's head: kept elsewhere, it shows later what was cut off.
    """

    chains: int = 0
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)

    @property
    def is_intact(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """For JSON: intact, chains, rows, faults (chain, sequence, problem, detail), heads by chain."""
        return {
            "intact": self.is_intact,
            "chains": self.chains,
            "rows": self.rows,
            "faults": [asdict(fault) for fault in self.faults],
            "heads": self.heads,
        }


def verify(chain: str | None = None, *, expected: Iterable[str] = (), kept: Mapping[str, Head] | None = None) -> Report:
    """Check one chain, or all of them and those ``expected`` to exist, in constant memory.

    At most one fault, the first, is reported per chain. The head is read before the rows, so rows appended meanwhile
    are no fault. Cutting off the last rows *and* rewinding the head to match leaves a chain that is right in itself:
    only ``kept`` shows it, the heads of an earlier report that were kept outside the database.
    """
    kept = kept or {}
    names = [chain] if chain is not None else sorted({*_all_names(), *expected, *kept})
    rows, faults, heads = 0, [], {}
    for name in names:
        head = _head(name)
        count, fault = _verify_chain(name, head)
        rows += count
        fault = fault or _fault_of_kept(name, kept.get(name))
        if fault:
            faults.append(fault)
        elif head:
            heads[name] = Head(sequence=head[0], hash=head[1].hex())
    return Report(len(names), rows, faults, heads)


def _all_names() -> set[str]:
    heads = AuditChain.objects.values_list("name", flat=True)
    return {*heads, *AuditRow.objects.order_by().values_list("chain", flat=True).distinct()}


def _verify_chain(name: str, head: tuple[int, bytes] | None) -> tuple[int, Fault | None]:
    if head is not None:
        return _walk(name, *head)
    if AuditRow.objects.filter(chain=name).exists():
        return 0, Fault(name, None, "head-missing", "The chain has rows but no head.")
    return 0, Fault(name, None, "chain-missing", "There is no such chain.")


def _head(name: str) -> tuple[int, bytes] | None:
    head = AuditChain.objects.filter(name=name).values_list("sequence", "head").first()
    return (head[0], bytes(head[1])) if head else None


def _walk(name: str, head_sequence: int, head_hash: bytes) -> tuple[int, Fault | None]:
    previous = genesis(name)
    hash_at_head, count = previous, 0
    for row in _rows(name):
        count += 1
        fault = _fault_of_row(row, count, previous)
        if fault:
            return count, fault
        previous = bytes(row[-1])
        if count == head_sequence:
            hash_at_head = previous
    return count, _fault_of_head(name, count, head_sequence, hash_at_head == head_hash)


def _rows(name: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a chain in order, page by page: no long transaction, no server-side cursor, constant memory."""
    rows = AuditRow.objects.filter(chain=name).order_by("sequence").values_list(*_BODY, "previous_hash", "hash")
    page = list(rows[:CHUNK])
    while page:
        yield from page
        page = list(rows.filter(sequence__gt=page[-1][1])[:CHUNK])


def _fault_of_row(row: tuple[Any, ...], expected: int, previous: bytes) -> Fault | None:
    *body, stored_previous, stored = row
    name, sequence = body[0], body[1]
    follows = bytes(stored_previous) == previous
    if sequence != expected:
        if sequence < expected:
            return Fault(name, sequence, "inserted", "A row stands before the first.")
        return Fault(name, expected, "deleted", f"Rows {expected} to {sequence - 1} are missing.")
    if row_hash(bytes(stored_previous), cast("Body", tuple(body))) != bytes(stored):
        if follows:
            return Fault(name, sequence, "edited", "The row was changed after it was written.")
        return Fault(name, sequence, "moved", "The row was changed, or written for another place in the chain.")
    if not follows:
        return Fault(
            name, sequence, "replaced", "It does not continue the row before it: one was put in the other's place."
        )
    return None


def _fault_of_head(name: str, count: int, head_sequence: int, head_fits: bool) -> Fault | None:
    if count < head_sequence:
        return Fault(name, count + 1, "truncated", f"Rows {count + 1} to {head_sequence} are missing at the end.")
    if not head_fits:
        return Fault(name, head_sequence, "head-differs", "The head of the chain does not fit this row.")
    now = _head(name)
    if now is None or now[0] < count:
        last = now[0] if now else 0
        return Fault(name, last + 1, "inserted", "A row stands behind the head of the chain.")
    return None


def _fault_of_kept(name: str, kept: Head | None) -> Fault | None:
    """Whether the row that was the last one then is still what it was."""
    if kept is None or kept["sequence"] == 0:
        return None
    rows = AuditRow.objects.filter(chain=name, sequence=kept["sequence"]).values_list("hash", flat=True)
    found = rows.first()
    if found is None:
        return Fault(name, kept["sequence"], "cut", "The chain was longer when its head was kept.")
    if bytes(found).hex() != kept["hash"]:
        return Fault(name, kept["sequence"], "rewritten", "Another row stood here when the head was kept.")
    return None
