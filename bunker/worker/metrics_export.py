"""Carries a worker's own numbers over to the process's metrics: latencies at once, counts with each heartbeat."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bunker.worker.stats import WorkerStats
from keycast.base.metrics import BUNKER_DROPS, BUNKER_REQUESTS, BUNKER_SECONDS


class RequestMetrics:
    """Feeds keycast.base.metrics. Look-ups of labelled children are kept: they cost more than what they count."""

    def __init__(self, stats: WorkerStats) -> None:
        self._stats = stats
        self._histograms: dict[str, Any] = {}
        self._answered: Counter[tuple[str, str]] = Counter()
        self._drops: Counter[str] = Counter()
        stats.observe = self._observe

    def _observe(self, method: str, outcome: str, seconds: float) -> None:
        histogram = self._histograms.get(method)
        if histogram is None:
            histogram = self._histograms[method] = BUNKER_SECONDS.labels(method)
        histogram.observe(seconds)

    def flush(self) -> None:
        """Add what was counted since the last time."""
        answered, drops = Counter(self._stats.answered), Counter(self._stats.drops)
        for (method, outcome), count in (answered - self._answered).items():
            BUNKER_REQUESTS.labels(method, outcome).inc(count)
        for reason, count in (drops - self._drops).items():
            BUNKER_DROPS.labels(reason).inc(count)
        self._answered, self._drops = answered, drops
