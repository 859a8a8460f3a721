"""Carries what must not come undone into the restore journal, and notices a database that is older than the file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from keycast.audit.errors import DatabaseOutdated
from keycast.audit.models import AuditRow
from keycast.audit.restore_journal import (
    JOURNALED_TAGS,
    JournalEntry,
    RestoreJournal,
    after_last_restore,
    entry_of,
    missing_in_database,
    newest_of_each_chain,
    rows,
)
from keycast.audit.tags import AuditOutcome
from keycast.audit.writer import WrittenRow

logger = logging.getLogger(__name__)

LOOK_BACK: Final = 50_000
"""Rows of the log that ``catch_up`` looks at from its end; what is older was carried long ago."""
# A look reads the whole file. So long a database that was put in another's place may go unnoticed.
TRUSTED_SECONDS: Final = 60.0
NEWEST: Final = 50
_TAGS: Final = frozenset(tag.value for tag in JOURNALED_TAGS)

_lock = threading.Lock()
_checked_at: float | None = None
_restoring = threading.local()


def restore_journal() -> RestoreJournal | None:
    """The file that the settings name, or None."""
    return RestoreJournal(settings.RESTORE_JOURNAL) if settings.RESTORE_JOURNAL else None


def append_after_commit(written: Sequence[WrittenRow]) -> None:
    """Carry rows as ``writer.append`` gives them back, once their transaction is committed."""
    if not settings.RESTORE_JOURNAL:
        return
    found = [_of_written(row) for row in written if row.tag in _TAGS and row.outcome == AuditOutcome.OK.value]
    if found:
        # After the commit: what is rolled back must not stand in the file. What a crash in between keeps from it,
        # catch_up carries.
        transaction.on_commit(partial(_carry, found), robust=True)


def catch_up(file: RestoreJournal | None = None) -> int:
    """Carry what a crash or a full disk kept from the file; returns how many. Safe to repeat. Raises OSError."""
    file = file or restore_journal()
    if file is None:
        return 0
    known = {(entry.chain, entry.sequence, entry.hash) for entry in file.read()}
    newest: int = AuditRow.objects.aggregate(newest=Max("id"))["newest"] or 0
    # A file that knows nothing is a new one, and gets the whole log.
    found = [entry_of(row) for row in rows(after=newest - LOOK_BACK if known else 0)]
    missed = [entry for entry in found if (entry.chain, entry.sequence, entry.hash) not in known]
    if missed:
        file.append(missed)
    return len(missed)


def missing() -> list[JournalEntry]:
    """What the file knows and this database does not: empty unless an older database was put in its place.

    Looks at the newest line of every chain and at the newest lines of all, which an older database lacks first.
    """
    file = restore_journal()
    if file is None:
        return []
    entries = after_last_restore(file.read())
    newest = {(entry.chain, entry.sequence) for entry in [*newest_of_each_chain(entries), *entries[-NEWEST:]]}
    return missing_in_database(entry for entry in entries if (entry.chain, entry.sequence) in newest)


def require_current() -> None:
    """Raise DatabaseOutdated when this database lacks what the file knows. Looks at most once a minute."""
    global _checked_at  # noqa: PLW0603 -- one look for all threads
    if not settings.RESTORE_JOURNAL or getattr(_restoring, "is_on", False):
        return
    # Held while looking: threads that come together share one look at the file.
    with _lock:
        if _checked_at is not None and time.monotonic() - _checked_at < TRUSTED_SECONDS:
            return
        if missing():
            _checked_at = None
            raise DatabaseOutdated
        _checked_at = time.monotonic()


def reset_check() -> None:
    """Make the next ``require_current`` look, whenever the last look was."""
    global _checked_at  # noqa: PLW0603 -- as above
    with _lock:
        _checked_at = None


@contextmanager
def restoring() -> Iterator[None]:
    """Allow this thread to write to a database that is older than the file, to bring it up to date."""
    _restoring.is_on = True
    try:
        yield
    finally:
        _restoring.is_on = False


def _of_written(row: WrittenRow) -> JournalEntry:
    return entry_of(
        AuditRow(
            chain=row.chain,
            sequence=row.sequence,
            at=row.at,
            tag=row.tag,
            key_id=row.key_id,
            connection_id=row.connection_id,
            data=row.data,
            hash=row.hash,
        )
    )


def _carry(entries: Sequence[JournalEntry]) -> None:
    try:
        RestoreJournal(settings.RESTORE_JOURNAL).append(entries)
    except OSError as error:  # committed already: the job carries it later, and doctor says that it waits
        logger.critical("The restore journal cannot be written", extra={"problem": type(error).__name__})
