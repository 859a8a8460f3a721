"""What must not come undone when an older database is restored: kept outside the database as well.

A database dump knows nothing of what happened after it: a key destroyed since then comes back, a revoked app signs
again, a used one-time secret opens again. So every audit row with one of the tags in JOURNALED_TAGS is also appended to
a file (``KEYCAST_RESTORE_JOURNAL``), one JSON object a line:

    {"chain": …, "sequence": …, "hash": …, "at": …, "tag": …, "key": …, "connection": …, "data": {…}}

``chain``, ``sequence``, ``hash`` (hex), ``at``, ``tag`` are the row's (keycast.audit.chain); ``key`` and ``connection``
its ids; of its data only the ids in KEPT_DATA stay.

The file tells a restored database by its chains: a row that it remembers is missing, or has another hash. What a
restore lost stays lost, so lines before the last ``platform:database:restored`` row that the database has are settled.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag

logger = logging.getLogger(__name__)

JOURNALED_TAGS: Final = frozenset(
    {
        *(
            AuditTag.KEY_CREATED,
            AuditTag.KEY_IMPORTED,
            AuditTag.KEY_CONVERTED,
            AuditTag.KEY_HALVES_REFRESHED,
            AuditTag.KEY_DESTROYED,
        ),
        *(
            AuditTag.KEY_LOCKED,
            AuditTag.KEY_UNLOCKED,
            AuditTag.KEY_DISABLED,
            AuditTag.KEY_ENABLED,
            AuditTag.KEY_QUARANTINED,
        ),
        *(AuditTag.KEY_DESTRUCTION_SCHEDULED, AuditTag.KEY_DESTRUCTION_CANCELLED, AuditTag.KEY_IDENTITY_ROTATED),
        *(
            AuditTag.CONNECTION_BOUND,
            AuditTag.CONNECTION_LOCKED,
            AuditTag.CONNECTION_UNLOCKED,
            AuditTag.CONNECTION_REVOKED,
        ),
        *(AuditTag.CONNECTION_LOGGED_OUT, AuditTag.CONNECTION_EXPIRED, AuditTag.CONNECTION_LAPSED),
        *(AuditTag.USER_LOCKED, AuditTag.USER_UNLOCKED, AuditTag.USER_DEACTIVATED, AuditTag.USER_REACTIVATED),
        *(AuditTag.USER_MADE_STAFF, AuditTag.USER_STAFF_ENDED),
        *(
            AuditTag.MEMBERSHIP_ADDED,
            AuditTag.MEMBERSHIP_SUSPENDED,
            AuditTag.MEMBERSHIP_RESUMED,
            AuditTag.MEMBERSHIP_REMOVED,
        ),
        *(AuditTag.TENANT_LOCKED, AuditTag.TENANT_UNLOCKED, AuditTag.TENANT_SUSPENDED, AuditTag.TENANT_RESUMED),
        *(AuditTag.DEPLOYMENT_LOCKED, AuditTag.DEPLOYMENT_UNLOCKED, AuditTag.DATABASE_RESTORED),
    }
)
"""Stops, and what takes a stop back; and keys that came to be, so that a restore can say which ones it lost."""
KEPT_DATA: Final = frozenset({"user", "public_key"})
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the file."""

    chain: str
    sequence: int
    hash: str
    at: int
    tag: str
    key: str = ""
    connection: str = ""
    data: dict[str, str] = field(default_factory=dict)


def entry_of(row: AuditRow) -> JournalEntry:
    """The line for a row of the log."""
    said = {name: str(value) for name, value in json.loads(row.data).items() if name in KEPT_DATA}
    return JournalEntry(
        row.chain, row.sequence, bytes(row.hash).hex(), row.at, row.tag, row.key_id, row.connection_id, said
    )


def rows(after: int = 0) -> Iterator[AuditRow]:
    """The rows of the log that belong in the file, with an id above ``after``, in order."""
    lasting = AuditRow.objects.filter(id__gt=after, tag__in=JOURNALED_TAGS, outcome=AuditOutcome.OK)
    return lasting.order_by("id").iterator(chunk_size=2000)


class RestoreJournal:
    """The file; safe for many processes of one machine. Raises OSError where the disk does."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, entries: Iterable[JournalEntry]) -> None:
        """Add lines, on the disk when this returns."""
        self._write([asdict(entry) for entry in entries])

    def read(self) -> list[JournalEntry]:
        """The lines in their order, each once; one that a crash cut off is passed over with a warning."""
        found = (entry for line in self._lines() if (entry := _parsed(line)) is not None)
        return list({(entry.chain, entry.sequence, entry.hash): entry for entry in found}.values())

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    try:
                        value = json.loads(line)
                    except (ValueError, RecursionError):
                        logger.warning("A line of the restore journal cannot be read")
                        continue
                    if isinstance(value, dict):
                        yield value
                    else:
                        logger.warning("A line of the restore journal is no object")
        except FileNotFoundError:
            return

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            data = (_missing_line_end(handle) + text).encode()
            if os.write(handle, data) != len(data):
                raise OSError("The restore journal took only a part of what was written.")
            os.fsync(handle)
        finally:
            os.close(handle)


def after_last_restore(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """The lines after the last restore that this database knows of, all when it knows of none."""
    restores = [number for number, entry in enumerate(entries) if entry.tag == AuditTag.DATABASE_RESTORED]
    for number in reversed(restores):
        if not missing_in_database([entries[number]]):
            return list(entries[number + 1 :])
    return list(entries)


def missing_after_restore(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """What a restored database has to hear of: unsettled, and not in its own log."""
    return missing_in_database(after_last_restore(entries))


def missing_in_database(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """Those that this database has no row for, or another row: it is older than they are, or another one."""
    waiting, missing = iter(entries), []
    while batch := list(islice(waiting, _AT_ONCE)):
        known = _hashes(batch)
        missing += [entry for entry in batch if known.get((entry.chain, entry.sequence)) != entry.hash]
    cut = {chain: _first_kept(chain) for chain in {entry.chain for entry in missing}}
    return [entry for entry in missing if entry.sequence >= cut[entry.chain]]


def newest_of_each_chain(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """The line with the highest sequence of every chain: enough to tell whether a database is older."""
    newest: dict[str, JournalEntry] = {}
    for entry in entries:
        if entry.chain not in newest or newest[entry.chain].sequence < entry.sequence:
            newest[entry.chain] = entry
    return list(newest.values())


def _hashes(entries: Iterable[JournalEntry]) -> dict[tuple[str, int], str]:
    sequences: dict[str, list[int]] = {}
    for entry in entries:
        sequences.setdefault(entry.chain, []).append(entry.sequence)
    return {
        (row.chain, row.sequence): bytes(row.hash).hex()
        for chain, numbers in sequences.items()
        for row in AuditRow.objects.filter(chain=chain, sequence__in=numbers).only("chain", "sequence", "hash")
    }


def _first_kept(chain: str) -> int:
    """The first sequence that a chain still has: retention takes older rows away, and those are not missed."""
    row = AuditRow.objects.filter(chain=chain).order_by("sequence").only("sequence").first()
    return row.sequence if row is not None else 0


def _parsed(line: dict[str, Any]) -> JournalEntry | None:
    try:
        return JournalEntry(**line)
    except TypeError:
        logger.warning("A line of the restore journal has other fields than expected")
        return None


def _missing_line_end(handle: int) -> str:
    """What a crash in the middle of a line makes necessary."""
    size = os.fstat(handle).st_size
    return "\n" if size and os.pread(handle, 1, size - 1) != b"\n" else ""
