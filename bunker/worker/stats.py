"""What one worker counts about itself: for its seat in the database, for metrics and for health. Never content."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from bunker.worker.traffic_counter import Tally


class Stats:
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
        self.tally = Tally()

    def answer(self, method: str, outcome: str, seconds: float) -> None:
        """Count one answer; ``seconds`` ran from receipt to durable reply."""
        self.answered[method, outcome] += 1
        if self.observe is not None:
            self.observe(method, outcome, seconds)

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
