"""How well one outbound relay does: moving averages, and the score that drives ``switch_relays``."""

from __future__ import annotations

from collections.abc import Mapping

from bunker.relays.interfaces import RelayHealth, RelayStatus

WEIGHT = 0.2
SLOW_SECONDS = 1.0


class RelayMeasurements:
    """Measurements of one relay, from its first connection on."""

    def __init__(self) -> None:
        self.status = RelayStatus.CONNECTING
        self.reliability = 0.5
        self.eose_seconds: float | None = None
        self.ok_seconds: float | None = None
        self.accepted = 0
        self.refused = 0
        self.failures = 0
        self.notices = 0

    def good(self) -> None:
        """Count a success."""
        self.reliability += WEIGHT * (1.0 - self.reliability)

    def bad(self) -> None:
        """Count a failure."""
        self.reliability -= WEIGHT * self.reliability

    def eose(self, seconds: float) -> None:
        """Take the time from REQ to EOSE."""
        self.eose_seconds = moving(self.eose_seconds, seconds)
        self.good()

    def ok(self, seconds: float | None) -> None:
        """Take an OK true and the time it took."""
        self.accepted += 1
        self.good()
        if seconds is not None:
            self.ok_seconds = moving(self.ok_seconds, seconds)

    def refusal(self) -> None:
        """Count an OK false or a CLOSED."""
        self.refused += 1
        self.bad()

    @property
    def score(self) -> float:
        """0.0 to 1.0: reliability, less for slowness, little for a relay that is not connected."""
        slowness = (self.ok_seconds or 0.0) / SLOW_SECONDS
        presence = {RelayStatus.LIVE: 1.0, RelayStatus.REFUSED: 0.0}.get(self.status, 0.3)
        return round(self.reliability * presence / (1.0 + slowness), 3)

    def report(self, url: str, keys: int, drops: Mapping[str, int], queued: int) -> RelayHealth:
        """Return the row that operators and ``switch_relays`` see."""
        return RelayHealth(
            url=url,
            status=self.status,
            score=self.score,
            keys=keys,
            eose_ms=milliseconds(self.eose_seconds),
            ok_ms=milliseconds(self.ok_seconds),
            accepted=self.accepted,
            refused=self.refused,
            failures=self.failures,
            drops=drops,
            queued=queued,
        )


def moving(average: float | None, value: float) -> float:
    """Return the moving average with ``value`` in it."""
    return value if average is None else average + WEIGHT * (value - average)


def milliseconds(seconds: float | None) -> float | None:
    """Convert, to a tenth."""
    return None if seconds is None else round(seconds * 1000, 1)
