"""What somebody found who looked at one part, and who else wants to look. Imports nothing of the apps.

A part adds what it knows by ``register(look)``; a look returns one Finding, or None while there is nothing to say.
Looks are asked every few seconds (keycast.operations.health): a query or two, never the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from django.db import DatabaseError


class Severity(IntEnum):
    """How bad it is when a finding is not ok. Only CRITICAL takes the process out of a load balancer (/readyz)."""

    NOTE = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One look at one thing. ``detail`` is a plain sentence for operators; ``fix`` says what to do when not ok.

    ``link`` is the name of the admin page where it is put right, as ``reverse`` takes it; it takes no arguments.
    ``tells``: the watchdog writes to staff when it is not ok for a while, and again when it is (keycast.operations).
    """

    name: str
    is_ok: bool
    detail: str
    fix: str = ""
    severity: Severity = Severity.CRITICAL
    link: str = ""
    tells: bool = False


@dataclass(frozen=True, slots=True)
class HealthReport:
    findings: tuple[HealthFinding, ...]

    @property
    def is_ready(self) -> bool:
        return all(finding.is_ok or finding.severity < Severity.CRITICAL for finding in self.findings)

    @property
    def attention(self) -> list[HealthFinding]:
        """What is not ok, worst first."""
        return sorted((finding for finding in self.findings if not finding.is_ok), key=lambda each: -each.severity)

    def as_dict(self) -> dict[str, object]:
        checks = {finding.name: {"ok": finding.is_ok, "detail": finding.detail} for finding in self.findings}
        return {"ready": self.is_ready, "checks": checks}


HealthCheck = Callable[[], HealthFinding | None]
_registered: list[HealthCheck] = []


def register(look: HealthCheck) -> None:
    """Have ``look`` asked with every report; apps call this when they are ready."""
    if look not in _registered:
        _registered.append(look)


def registered() -> tuple[HealthCheck, ...]:
    """What other parts look at."""
    return tuple(_registered)


def run_safely(look: HealthCheck) -> HealthFinding | None:
    """What ``look`` finds; a look that the database stops becomes a finding itself."""
    try:
        return look()
    except DatabaseError as error:
        name = look.__name__.replace("_", " ")
        detail = f"Cannot be looked at ({type(error).__name__})."
        return HealthFinding(name, False, detail, "See: database, migrations.", Severity.WARNING)
