"""The health of every part in one line each, from what processes publish: nothing is asked over the network here."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.conf import settings
from django.db.models import Count, Sum

from bunker.relays.interfaces import RelayStatus
from keycast.audit.models import AuditChain, AuditCheckpoint
from keycast.operations import heartbeats, jobs
from keycast.operations.health import processes
from keycast.operations.models import Sign
from keycast.operations.watchdog import queue
from keys import SHARDS
from keys.selectors import hsm_services

GOOD: Final = "good"
BAD: Final = "bad"
QUIET: Final = "quiet"
LATE_VERIFICATION: Final = 3 * 24 * 3600.0


class WorkerView(Protocol):
    """A worker as the overview has it."""

    @property
    def is_alive(self) -> bool: ...
    @property
    def place(self) -> str: ...
    @property
    def status(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """``state`` is GOOD, BAD, or QUIET where there is nothing to judge by. ``link``: an admin page, by name."""

    name: str
    state: str
    detail: str
    link: str = ""

    @property
    def word(self) -> str:
        """The state for people, who may not see its colour."""
        return {GOOD: "in order", BAD: "look here", QUIET: "idle"}[self.state]


def components(workers: Sequence[WorkerView]) -> list[ComponentStatus]:
    """Every part, in the order of a request's way through them. A fixed number of queries."""
    web = [
        sign for sign in Sign.objects.filter(name__startswith=heartbeats.WEB).order_by("name")[:50] if is_fresh(sign)
    ]
    alive = [worker for worker in workers if worker.is_alive]
    return [
        built_in_relay(web),
        outbound_relays(alive),
        bunker_workers(alive),
        signers(alive),
        *services(),
        job_cluster(),
        audit_chain(),
    ]


def of(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def is_fresh(sign: Sign) -> bool:
    return time.time() - sign.at / 1000 <= heartbeats.WEB_FRESH_SECONDS


def built_in_relay(web: Sequence[Sign]) -> ComponentStatus:
    """In every process that serves the web."""
    if not web:
        return ComponentStatus("Built-in relay", QUIET, "No web process has said anything within a minute.")
    clients = sum(number for sign in web if isinstance(number := sign.status.get("relay_clients"), int))
    return ComponentStatus(
        "Built-in relay", GOOD, f"{of(clients, 'client')} connected, {of(len(web), 'web process', 'web processes')}."
    )


def outbound_relays(alive: Sequence[WorkerView]) -> ComponentStatus:
    rows = [row for worker in alive for row in processes.list_in_status(worker.status, "relays")]
    if not rows:
        return ComponentStatus("Outbound relays", QUIET, "None in use: the built-in relay carries everything.")
    live = sum(row.get("status") == RelayStatus.LIVE.value for row in rows)
    return ComponentStatus(
        "Outbound relays", GOOD if live == len(rows) else BAD, f"{live} of {len(rows)} connections are live."
    )


def bunker_workers(alive: Sequence[WorkerView]) -> ComponentStatus:
    served = sum(number for worker in alive if isinstance(number := worker.status.get("shards"), int))
    detail = f"{len(alive)} alive; {served} of {SHARDS} shards of signers are served."
    return ComponentStatus(
        "Bunker workers", GOOD if served == SHARDS else BAD, detail, "admin:bunker_workerseat_changelist"
    )


def signers(alive: Sequence[WorkerView]) -> ComponentStatus:
    """Where keys are opened: in each worker, or in a process of its own."""
    socket = getattr(settings, "SIGNER_SOCKET", "")
    if socket:
        return ComponentStatus(
            "Signer", GOOD if alive else QUIET, "A process of its own; how it answers is told below."
        )
    return ComponentStatus("Signer", GOOD if alive else BAD, f"In the process of each worker ({len(alive)}).")


def services() -> Iterator[ComponentStatus]:
    """Cloud KMS, NetHSM, co-signer and isolated signer, as those who call them see them."""
    seen: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for place, reported in processes.service_statuses():
        seen[reported["name"]].append((place, reported))
    for name in sorted(seen):
        yield _service(name, seen[name])
    for name in hsm_services():
        if not any(each.startswith(name) for each in seen):
            yield ComponentStatus(name, QUIET, "Set up; nobody has called it since the processes started.")


def _service(name: str, seen: Sequence[tuple[str, dict[str, Any]]]) -> ComponentStatus:
    away = [(place, reported) for place, reported in seen if processes.is_unavailable(reported)]
    good_at = max(reported["good_at"] for _, reported in seen)
    last = (
        f"Last good answer {processes.duration_in_words(max(time.time() - good_at, 0))} ago"
        if good_at
        else "No good answer yet"
    )
    if not away and all(processes.has_failed_last(reported) for _, reported in seen):
        return ComponentStatus(name, QUIET, f"The last call failed, and nobody has called since. {last}.")
    if not away:
        return ComponentStatus(name, GOOD, f"{last}, to {of(len(seen), 'process', 'processes')}.")
    resting = any(reported["open"] for _, reported in away)
    what = "Left alone for a while after failures, then tried again" if resting else "The last call failed"
    error = next((f" ({reported['error']})" for _, reported in away if reported["error"]), "")
    return ComponentStatus(name, BAD, f"{what}{error}: {', '.join(place for place, _ in away[:3])}. {last}.")


def job_cluster() -> ComponentStatus:
    age = heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
    waiting, oldest = queue()
    sign = "No job has run yet" if age is None else f"Last sign of a job {processes.duration_in_words(age)} ago"
    line = f", {waiting} waiting, the first for {processes.duration_in_words(oldest)}" if waiting else ", none waiting"
    is_overdue = heartbeats.jobs_are_overdue(age)
    state = BAD if is_overdue else QUIET if age is None else GOOD
    return ComponentStatus("Jobs", state, f"{sign}{line}.", processes.JOBS_PAGE)


def audit_chain() -> ComponentStatus:
    """How long the log is, when it was last signed and verified, and what came of it."""
    link = "admin:audit_auditchain_changelist"
    size = AuditChain.objects.aggregate(chains=Count("*"), rows=Sum("sequence"))
    signed_at = AuditCheckpoint.objects.order_by("-id").values_list("at", flat=True).first()
    sealed = f"newest checkpoint {_ago(signed_at / 1_000_000)}" if signed_at else "no checkpoint yet"
    about = f"{of(size['rows'] or 0, 'row')} in {of(size['chains'], 'chain')}, {sealed}"
    last = jobs.last_verification()
    if last is None:
        return ComponentStatus("Audit log", QUIET, f"{about}; not verified yet, which a job does every day.", link)
    at = float(str(last["at"]))
    if not last["intact"]:
        return ComponentStatus("Audit log", BAD, f"BROKEN, as found {_ago(at)}. Keep the database as it is.", link)
    state = GOOD if time.time() - at < LATE_VERIFICATION else BAD
    return ComponentStatus("Audit log", state, f"{about}; verified {_ago(at)}: intact.", link)


def _ago(at: float) -> str:
    return f"{processes.duration_in_words(max(time.time() - at, 0.0))} ago"
