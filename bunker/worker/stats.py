"""What one worker counts about itself: for its seat in the database, for metrics and for health. Never content."""

from __future__ import annotations

import time
from collections import Counter
from enum import StrEnum
from typing import Any, Final

from bunker.traffic.counts import FAILED, OTHER, REFUSED, SIGNED, USED
from bunker.worker.traffic_counter import TrafficCounter
from keycast.nostr.nip46 import METHODS, Use

_KINDS: Final = {Use.SIGN: SIGNED, Use.CRYPT: USED}
_USES: Final = {name: _KINDS[row.use] for name, row in METHODS.items() if row.use in _KINDS}


class Answered(StrEnum):
    """What became of a request that was answered."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"


class WorkerStats:
    """Numbers since the worker started. Written from the event loop and the writer thread, read by anyone.

    ``drops`` and ``refused`` count by reason (closed sets), ``answered`` by (method, outcome). ``seconds`` is told
    the latency of each durable answer by whoever exports histograms (``observe``).
    ``tally`` keeps figures by minute and tenant.
    """

    __slots__ = (
        "answered",
        "batch_jobs",
        "batch_seconds",
        "batches",
        "drops",
        "errors",
        "fenced",
        "in_flight",
        "observe",
        "published",
        "queued",
        "received",
        "recovered",
        "refused",
        "signed",
        "started_at",
        "tally",
    )

    def __init__(self) -> None:
        self.started_at = time.time()
        self.received = 0
        self.signed = 0
        self.published = 0
        self.recovered = 0
        self.fenced = 0
        self.queued = 0
        self.in_flight = 0
        self.batches = 0
        self.batch_jobs = 0
        self.batch_seconds = 0.0
        self.drops: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.answered: Counter[tuple[str, str]] = Counter()
        self.observe: Any = None
        self.tally = TrafficCounter()

    def answer(self, chain: str, method: str, outcome: Answered, received: float) -> None:
        """Count one durable answer to a request that came at ``received`` (monotonic) for the tenant of ``chain``."""
        seconds = time.monotonic() - received
        self.answered[method, outcome] += 1
        if self.observe is not None:
            self.observe(method, outcome, seconds)
        if outcome is Answered.REFUSED:
            self.tally.count(chain, REFUSED)
            return
        use = _USES.get(method)
        kind = FAILED if outcome is Answered.ERROR else OTHER if use is None else use
        self.tally.count(chain, kind, None if use is None else seconds)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as JSON values, for WorkerSeat.status."""
        return {
            "received": self.received,
            "signed": self.signed,
            "published": self.published,
            "recovered": self.recovered,
            "fenced": self.fenced,
            "queued": self.queued,
            "in_flight": self.in_flight,
            "batches": self.batches,
            "jobs_per_batch": round(self.batch_jobs / self.batches, 1) if self.batches else 0,
            "drops": dict(self.drops),
            "refused": dict(self.refused),
            "errors": dict(self.errors),
            "answered": {f"{method}:{outcome}": count for (method, outcome), count in self.answered.items()},
        }
