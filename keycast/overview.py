"""What the admin's first page shows: what needs attention, keys by mode and state, workers, relays, recent refusals."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max

from accounts.models import KeyMode, Tenant, User
from bunker.models import Connection, ConnectionState, WorkerSeat
from keycast import health
from keycast.audit.models import AuditRow
from keycast.audit.sentences import outcome_word, sentence
from keycast.audit.tags import Outcome
from keys.models import KeyState, PersonalKey

REFUSALS_SHOWN = 10
ROWS_LOOKED_AT = 20_000
"""Refusals are looked for in the newest rows only, so that the page costs the same however long the log is."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One bunker worker by its last heartbeat."""

    id: str
    place: str
    is_alive: bool
    seconds_ago: int
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused or failed use, as the audit log has it."""

    id: int
    at: datetime.datetime
    sentence: str
    outcome: str
    actor: str
    reason: str


def collect() -> dict[str, Any]:
    """Everything the page needs, in a fixed number of queries."""
    workers = list(worker_rows())
    return {
        "attention": [finding for finding in health.report().findings if not finding.is_ok],
        "keys": key_table(),
        "states": [state for state in KeyState if state != KeyState.DESTROYED],
        "totals": totals(),
        "workers": workers,
        "relays": relays_of(workers),
        "refusals": list(refusals()),
    }


def key_table() -> list[dict[str, Any]]:
    """One row a mode: the mode's name, a count for every state but destroyed, and their sum."""
    counts = {
        (row["key_mode"], row["state"]): row["count"]
        for row in PersonalKey.objects.values("key_mode", "state").order_by().annotate(count=Count("id"))
    }
    table = []
    for mode in KeyMode:
        numbers = [counts.get((mode.value, state.value), 0) for state in KeyState if state != KeyState.DESTROYED]
        table.append({"mode": mode.label, "counts": numbers, "sum": sum(numbers)})
    return table


def totals() -> list[tuple[str, int]]:
    """Numbers worth one line each."""
    return [
        ("Tenants", Tenant.objects.count()),
        ("People", User.objects.count()),
        ("Connected apps", Connection.objects.filter(state=ConnectionState.ACTIVE).count()),
        ("Unused bunker URLs", Connection.objects.filter(state=ConnectionState.PENDING).count()),
    ]


def worker_rows() -> Iterator[Worker]:
    """Workers, those seen last first."""
    now = time.time_ns() // 1_000_000
    for seat in WorkerSeat.objects.order_by("-seen_at")[:50]:
        age = max(now - seat.seen_at, 0)
        yield Worker(seat.id, f"{seat.host}:{seat.pid}", age <= health.SEAT_FRESH_MS, age // 1000, seat.status)


def relays_of(workers: list[Worker]) -> list[dict[str, Any]]:
    """Health of the outbound relays as workers that are alive see it."""
    return [
        {**relay, "worker": worker.place}
        for worker in workers
        if worker.is_alive
        for relay in worker.status.get("relays", [])
    ]


def refusals() -> Iterator[Refusal]:
    """The newest denied or failed uses."""
    newest = AuditRow.objects.aggregate(newest=Max("id"))["newest"] or 0
    rows = AuditRow.objects.filter(id__gt=newest - ROWS_LOOKED_AT, outcome__in=[Outcome.DENIED, Outcome.FAILED])
    for row in rows.order_by("-id")[:REFUSALS_SHOWN]:
        yield Refusal(
            row.id, moment(row.at), sentence(row.tag), outcome_word(row.outcome), row.actor_label, reason_of(row.data)
        )


def moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(microseconds / 1_000_000, datetime.UTC)


def reason_of(data: str) -> str:
    """The reason in an audit row's data, if it has one."""
    found = json.loads(data).get("reason", "")
    return found if isinstance(found, str) else ""
