"""How the services that custody leans on answered this process: Cloud KMS, NetHSM, the co-signer, an isolated signer.

Whoever calls such a service keeps a ServiceStatus and tells it of each answer; processes publish what ``report`` says
(WorkerSeat.status, keycast.operations), and the dashboard shows it. Names of services only: no key, tenant or address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class ServiceStatus:
    """One service as this process sees it. ``is_open`` tells whether calls are held back at present (a breaker)."""

    __slots__ = ("bad_at", "error", "good_at", "is_open", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open: Callable[[], bool] | None = None
        self.good_at = 0.0
        self.bad_at = 0.0
        self.error = ""

    def good(self) -> None:
        """The service answered."""
        self.good_at = time.time()

    def bad(self, error: str = "") -> None:
        """It did not, or answered nonsense; ``error`` is the failure's class."""
        self.bad_at = time.time()
        self.error = error

    def as_dict(self) -> dict[str, Any]:
        """JSON values: times in Unix seconds, 0 for never."""
        return {
            "name": self.name,
            "open": bool(self.is_open is not None and self.is_open()),
            "good_at": round(self.good_at),
            "bad_at": round(self.bad_at),
            "error": self.error,
        }


_statuses: dict[str, ServiceStatus] = {}


def status_of(name: str, is_open: Callable[[], bool] | None = None) -> ServiceStatus:
    """The one status of that service in this process, whoever calls the service; names are from the code alone."""
    status = _statuses.setdefault(name, ServiceStatus(name))
    if is_open is not None:
        status.is_open = is_open
    return status


def report() -> list[dict[str, Any]]:
    """What this process knows of each service it has called, by name."""
    found = sorted(_statuses.copy().values(), key=lambda status: status.name)
    return [status.as_dict() for status in found if status.good_at or status.bad_at]
