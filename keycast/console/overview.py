"""What the admin's first page shows: what needs attention, figures over time, keys, the health of every part, refusals.

Everything is read in a fixed number of queries, however many tenants, keys and rows there are: the page asks again
every few seconds.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count, Max
from django_scopes import scopes_disabled

from accounts.models import KeyMode, Tenant, User
from bunker.models import Connection, ConnectionState, WorkerSeat
from bunker.traffic.counts import EVERYONE, FAILED, FIRST_BUCKET, REFUSED, SIGNED, USED, percentile
from bunker.traffic.series import SPANS, TrafficSeries, series, span_of
from keycast.audit.descriptions import outcome_word, sentence
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome
from keycast.operations import health
from keycast.operations.charts import charts, milliseconds
from keycast.operations.components import components
from keycast.operations.health.processes import list_in_status
from keys.models import KeyState, PersonalKey

REFUSALS_SHOWN: Final = 10
TENANTS_SHOWN: Final = 8
ROWS_LOOKED_AT: Final = 20_000
"""Refusals are looked for in the newest rows only, so that the page costs the same however long the log is."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One bunker worker by its last heartbeat."""

    id: str
    place: str
    is_alive: bool
    seconds_ago: int
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RefusedUse:
    """One refused or failed use, as the audit log has it."""

    id: int
    at: datetime.datetime
    sentence: str
    outcome: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class OverviewFilter:
    """What was asked for: a span by its slug, a tenant by its short name (empty for all)."""

    span: str = ""
    tenant: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> OverviewFilter:
        """Read a query string; whatever is not a known span becomes the first."""
        return cls(span_of(given.get("span", "")).slug, given.get("tenant", "").strip()[:63])


def collect(view: OverviewFilter | None = None) -> dict[str, Any]:
    """Everything the page needs, in a fixed number of queries."""
    view = view or OverviewFilter.of({})
    # The staff console shows every tenant.
    with scopes_disabled():
        workers = list(worker_rows())
        report = health.report()
        modes = key_table()
        return {
            "at": datetime.datetime.now(datetime.UTC),
            "view": view,
            "spans": SPANS,
            "attention": report.attention,
            "figures": figures(view, workers),
            "keys": modes,
            "states": [state for state in KeyState if state != KeyState.DESTROYED],
            "tenants": tenants(sum(row["sum"] for row in modes)),
            "totals": totals(),
            "parts": components(workers),
            "workers": workers,
            "relays": relays_of(workers),
            "refusals": list(refusals()),
        }


def figures(view: OverviewFilter, workers: list[WorkerStatus]) -> dict[str, Any]:
    """Charts and sums of one tenant, or of all."""
    is_text = view.tenant.isprintable()  # PostgreSQL takes no NUL
    tenant = Tenant.objects.filter(slug=view.tenant).first() if view.tenant and is_text else None
    if view.tenant and tenant is None:
        return {"unknown": view.tenant}
    unwritten = {worker.id: list_in_status(worker.status, "minutes") for worker in workers}
    found = series(span_of(view.span), tenant.id if tenant else EVERYONE, unwritten)
    return {"tenant": tenant, "charts": charts(found), "sums": sums(found), "is_empty": found.is_empty}


def sums(found: TrafficSeries) -> list[tuple[str, str]]:
    """The span in a few numbers."""
    whole = found.whole
    asked = sum(whole.outcome(kind) for kind in (SIGNED, USED, REFUSED, FAILED))
    share = f"{100 * (whole.outcome(REFUSED) + whole.outcome(FAILED)) / asked:.1f} %" if asked else "-"
    buckets = whole.numbers[FIRST_BUCKET:]
    return [
        ("signatures", f"{whole.outcome(SIGNED):,}"),
        ("other uses", f"{whole.outcome(USED):,}"),
        ("refused", f"{whole.outcome(REFUSED):,}"),
        ("failed", f"{whole.outcome(FAILED):,}"),
        ("refused or failed", share),
        ("p50", milliseconds(percentile(buckets, 0.5))),
        ("p95", milliseconds(percentile(buckets, 0.95))),
        ("p99", milliseconds(percentile(buckets, 0.99))),
    ]


def key_table() -> list[dict[str, Any]]:
    """One row a mode: the mode's name, a count for every state but destroyed, and their sum."""
    counts = {
        (row["key_mode"], row["state"]): row["count"]
        for row in PersonalKey.objects.values("key_mode", "state").order_by().annotate(count=Count("*"))
    }
    table = []
    for mode in KeyMode:
        states = [
            (state, counts.get((mode.value, state.value), 0)) for state in KeyState if state != KeyState.DESTROYED
        ]
        numbers = [{"state": state.value, "count": count} for state, count in states]
        table.append({"mode": mode, "counts": numbers, "sum": sum(count for _, count in states)})
    return table


def tenants(everywhere: int) -> list[dict[str, Any]]:
    """The tenants with most keys, and a row for all others together; destroyed keys are not counted."""
    rows = PersonalKey.objects.exclude(state=KeyState.DESTROYED).values("tenant_id").order_by()
    most = list(rows.annotate(count=Count("*")).order_by("-count", "tenant_id")[:TENANTS_SHOWN])
    names = Tenant.objects.in_bulk([row["tenant_id"] for row in most])
    found: list[dict[str, Any]] = [{"tenant": names[row["tenant_id"]], "count": row["count"]} for row in most]
    rest = everywhere - sum(row["count"] for row in most)
    return [*found, {"tenant": None, "count": rest}] if rest > 0 else found


def totals() -> list[tuple[str, int]]:
    """Numbers worth one line each."""
    live = Connection.objects.filter(state__in=[ConnectionState.ACTIVE, ConnectionState.PENDING])
    counts = dict(live.order_by().values_list("state").annotate(count=Count("*")))
    return [
        ("Tenants", Tenant.objects.count()),
        ("People", User.objects.count()),
        ("Connected apps", counts.get(ConnectionState.ACTIVE.value, 0)),
        ("Unused bunker URLs", counts.get(ConnectionState.PENDING.value, 0)),
    ]


def worker_rows() -> Iterator[WorkerStatus]:
    """Workers, those seen last first."""
    now = time.time_ns() // 1_000_000
    for seat in WorkerSeat.objects.order_by("-seen_at")[:50]:
        age = max(now - seat.seen_at, 0)
        yield WorkerStatus(seat.id, f"{seat.host}:{seat.pid}", age <= health.WORKER_ALIVE_MS, age // 1000, seat.status)


def relays_of(workers: list[WorkerStatus]) -> list[dict[str, Any]]:
    """Health of the outbound relays as workers that are alive see it."""
    return [
        {**relay, "worker": worker.place}
        for worker in workers
        if worker.is_alive
        for relay in list_in_status(worker.status, "relays")
    ]


def refusals() -> Iterator[RefusedUse]:
    """The newest denied or failed uses."""
    newest = AuditRow.objects.aggregate(newest=Max("id"))["newest"] or 0
    rows = AuditRow.objects.filter(
        id__gt=newest - ROWS_LOOKED_AT, outcome__in=[AuditOutcome.DENIED, AuditOutcome.FAILED]
    )
    for row in rows.order_by("-id")[:REFUSALS_SHOWN]:
        yield RefusedUse(
            row.id, moment(row.at), sentence(row.tag), outcome_word(row.outcome), row.actor_label, reason_of(row.data)
        )


def moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(microseconds / 1_000_000, datetime.UTC)


def reason_of(data: str) -> str:
    """The reason in an audit row's data, if it has one."""
    found = json.loads(data).get("reason", "")
    return found if isinstance(found, str) else ""
