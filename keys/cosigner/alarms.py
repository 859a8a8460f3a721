"""The co-signer's own mails to its operator: what it did by itself, what was changed, and what is unusual.

Everything waits in a bounded queue for a thread of its own: neither the event loop nor the store ever waits for a mail
server. What waits goes out together, at most one mail a minute, so a flood of alarms is no flood of mails.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag

logger = logging.getLogger(__name__)
Send = Callable[[str, str], None]
"""Hands a subject and a text to the mail server; raises OSError."""
WAITING: Final = 200
LINES: Final = 50
GAP: Final = 60.0
TRIES: Final = 3
REFUSALS: Final = 100
REFUSALS_WITHIN: Final = 600.0
"""So many refusals in so many seconds are an alarm, once for each such time."""
_SILENT: Final = {"cosigner:authoriser:registered"}  # of every new key
ALARMING: Final = frozenset(
    tag
    for tag in CosignerAuditTag
    # By what a tag is about, so that a new one about these is not forgotten.
    if tag.value.split(":")[1] in {"authoriser", "operator", "budget", "rate"} or tag.value.split(":")[2][:4] == "forg"
) - {CosignerAuditTag(value) for value in _SILENT}


class CosignerAlarms:
    """``send`` is None where no mail is set up: then alarms are lines of the process's log alone."""

    def __init__(self, send: Send | None, clock: Callable[[], float] = time.monotonic, gap: float = GAP) -> None:
        self._send, self._clock, self._gap = send, clock, gap
        self._queue: queue.Queue[str | None] = queue.Queue(WAITING)
        self._refusals, self._since = 0, clock()
        self.dropped = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cosigner-alarms", daemon=True)
        if send is not None:
            self._thread.start()

    def watch(self, rows: Sequence[CosignerAuditEntry]) -> None:
        """Rows that are on disk. Called by the store's thread; never waits."""
        for row in rows:
            if row.tag in ALARMING:
                self._raise(_line(row))

    def refused(self) -> None:
        """A request was refused, whether or not that became a row."""
        now = self._clock()
        if now - self._since > REFUSALS_WITHIN:
            self._refusals, self._since = 0, now
        self._refusals += 1
        if self._refusals == REFUSALS:
            self._raise(
                f"{_now()}  {REFUSALS} requests refused within {int(REFUSALS_WITHIN / 60)} minutes; see the log"
            )

    def close(self) -> None:
        """End the thread; what it is sending may be lost, and is in the log."""
        self._ended.set()
        if self._send is not None:
            self._put(None)
            self._thread.join(1)

    def _raise(self, line: str) -> None:
        logger.warning("co-signer alarm: %s", line)
        if self._send is not None:
            self._put(line)

    def _put(self, line: str | None) -> None:
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while not self._ended.is_set():
            first = self._queue.get()
            if first is None:
                return
            lines = [first, *self._waiting()]
            dropped, self.dropped = self.dropped, 0
            if dropped:
                lines.append(f"{dropped} more alarms found no room here. They are in the log: manage.py cosigner log")
            self._deliver(lines)
            self._ended.wait(self._gap)

    def _waiting(self) -> list[str]:
        found: list[str] = []
        while len(found) < LINES - 1:
            try:
                line = self._queue.get_nowait()
            except queue.Empty:
                break
            if line is not None:
                found.append(line)
        return found

    def _deliver(self, lines: list[str]) -> None:
        assert self._send is not None  # noqa: S101 -- or there is no thread
        subject = f"Keycast co-signer: {len(lines)} alarms" if len(lines) > 1 else "Keycast co-signer: an alarm"
        text = "\n\n".join(lines) + "\n\nThis is the co-signer's own mail. Look: manage.py cosigner list, log\n"
        for attempt in range(1, TRIES + 1):
            try:
                self._send(subject, text)
            except OSError as error:  # smtplib's errors are OSErrors
                logger.error("an alarm of the co-signer was not mailed (%s)", type(error).__name__)
                if self._ended.wait(self._gap * attempt):
                    return
            else:
                return
        self.dropped += len(lines)


def _line(row: CosignerAuditEntry) -> str:
    about = f"  key {row.key_id}" if row.key_id else ""
    return f"{_now()}  {row.tag.value}{about}  by {row.peer}  {msgspec.json.encode(row.data).decode()[:500]}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
