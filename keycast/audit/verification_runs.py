"""Verifications in the background: asked for by people or the schedule, carried on slice by slice, with their results.

A full one reads every row. Others begin, in each chain, at the newest signed checkpoint that an earlier verification
had reached, so that a long log does not take all day.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import asdict
from typing import Any, Final

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import VerificationRunning
from keycast.audit.models import AuditChain, AuditCheckpoint, AuditVerification
from keycast.audit.services import PLATFORM, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.audit.verification import ChainFault, ChainHead, ChainVerifier, all_names

log = structlog.get_logger(__name__)
State = AuditVerification.State

# What a kill loses at most; far below STALLED_AFTER, so that a run that is alive is never taken for a lost one.
SLICE_SECONDS: Final = 3.0
STALLED_AFTER: Final = datetime.timedelta(seconds=90)
"""A run that was not heard of for so long has lost whoever carried it on."""
FULL_EVERY: Final = datetime.timedelta(days=7)
OPEN: Final = (State.WAITING, State.RUNNING)


@transaction.atomic
def start(*, actor: Actor, chain: str = "", is_full: bool = True) -> AuditVerification:
    """Ask for a verification of one chain, or all. Raises VerificationRunning while the same one is under way."""
    chains = AuditChain.objects.filter(name=chain) if chain else AuditChain.objects.all()
    run = AuditVerification(chain=chain, is_full=is_full, asked_by=actor.label or actor.id)
    run.total = chains.aggregate(sum=Sum("sequence"))["sum"] or 0
    try:
        with transaction.atomic():
            run.save()
    except IntegrityError:
        raise VerificationRunning from None
    return run


def scheduled(actor: Actor) -> AuditVerification:
    """The daily one: full once a week, and whenever the last was not intact. Raises VerificationRunning."""
    done = AuditVerification.objects.filter(chain="", state=State.INTACT)
    is_recent = done.filter(is_full=True, finished_at__gt=timezone.now() - FULL_EVERY).exists()
    last = last_finished()
    return start(actor=actor, is_full=not (is_recent and last is not None and last.state == State.INTACT))


def last_finished(chain: str = "") -> AuditVerification | None:
    """The newest one of that scope that came to a result."""
    return AuditVerification.objects.filter(chain=chain, state__in=[State.INTACT, State.BROKEN]).first()


def stalled() -> list[int]:
    """Runs that somebody should carry on."""
    silent = Q(seen_at=None) | Q(seen_at__lt=timezone.now() - STALLED_AFTER)
    return list(AuditVerification.objects.filter(silent, state__in=OPEN).order_by("id").values_list("id", flat=True))


def carry_on(run_id: int, *, seconds: float = 200.0) -> bool:
    """Verify on for at most ``seconds``; whether there is a result. Does nothing while another process is at it."""
    now = timezone.now()
    silent = Q(seen_at=None) | Q(seen_at__lt=now - STALLED_AFTER)
    mine = AuditVerification.objects.filter(silent, id=run_id, state__in=OPEN)
    if not mine.update(state=State.RUNNING, seen_at=now):
        return False
    run = AuditVerification.objects.get(id=run_id)
    until = time.monotonic() + seconds
    while not _is_through(run):
        if time.monotonic() >= until:
            # Given up on purpose: the next job need not wait until it counts as silent.
            AuditVerification.objects.filter(id=run_id, state__in=OPEN).update(seen_at=None)
            return False
        _slice(run)
        kept = {"position": run.position, "report": run.report, "rows": run.rows, "seen_at": timezone.now()}
        if not AuditVerification.objects.filter(id=run_id, state__in=OPEN).update(**kept):
            return False
    _finish(run)
    return True


def _is_through(run: AuditVerification) -> bool:
    return bool(run.position) and not run.position["waiting"] and run.position["walk"] is None


def _slice(run: AuditVerification) -> None:
    """A few seconds of walking; leaves ``run`` as it then stands, unsaved."""
    if not run.position:
        # A chain that vanished whole is named by nothing that is left of it, but by what an earlier run had reached.
        names = [run.chain] if run.chain else sorted(all_names() | _known())
        run.position = {"waiting": names, "walk": None, "since": _reached(run)}
        run.report = {"chains": len(names), "rows": 0, "checkpoints": 0, "faults": [], "heads": {}}
    until = time.monotonic() + SLICE_SECONDS
    while not _is_through(run) and time.monotonic() < until:
        position = run.position
        walk = (
            ChainVerifier(position["waiting"][0], since=_since(position))
            if position["walk"] is None
            else _taken_up(position)
        )
        if walk.run(until):
            position["waiting"] = position["waiting"][1:]
            position["walk"] = None
            _note(run.report, walk)
        else:
            position["walk"] = walk.position
        run.rows += walk.count
        run.report["rows"] += walk.count
        run.report["checkpoints"] += walk.compared


def _taken_up(position: dict[str, Any]) -> ChainVerifier:
    return ChainVerifier(position["waiting"][0], position=position["walk"])


def _since(position: dict[str, Any]) -> AuditCheckpoint | None:
    """The checkpoint behind which the next chain's rows have not been verified yet."""
    name = position["waiting"][0]
    reached = position["since"].get(name, 0)
    return AuditCheckpoint.objects.filter(chain=name, size__lte=reached).order_by("-size").first()


def _known() -> set[str]:
    """The chains that the newest intact verification of all has found: none of them is ever taken out."""
    last = AuditVerification.objects.filter(chain="", state=State.INTACT).first()
    return set(last.report.get("heads", {})) if last else set()


def _reached(run: AuditVerification) -> dict[str, int]:
    """How far each chain was verified already: nowhere, for a full verification."""
    last = None if run.is_full else last_finished(run.chain)
    heads: dict[str, ChainHead] = last.report.get("heads", {}) if last else {}
    return {name: head["sequence"] for name, head in heads.items()}


def _note(report: dict[str, Any], walk: ChainVerifier) -> None:
    if walk.fault:
        report["faults"].append(asdict(walk.fault))
    elif walk.head:
        report["heads"][walk.chain] = walk.head


@transaction.atomic
def _finish(run: AuditVerification) -> None:
    is_intact = not run.report["faults"]
    run.report["intact"] = is_intact
    changes = {
        "state": State.INTACT if is_intact else State.BROKEN,
        "finished_at": timezone.now(),
        "report": run.report,
        "position": {},
        "rows": run.rows,
    }
    if not AuditVerification.objects.filter(id=run.id, state__in=OPEN).update(**changes):
        return
    for fault in faults_of(run):
        log.critical("audit_chain_broken", chain=fault.chain, sequence=fault.sequence, problem=fault.problem)
    outcome = AuditOutcome.OK if is_intact else AuditOutcome.FAILED
    said = {"verification": run.id, "rows": run.rows, "full": run.is_full, "asked_by": run.asked_by}
    record(AuditEntry(PLATFORM, AuditTag.AUDIT_VERIFIED, outcome, Actor.system("jobs"), data=said))


def faults_of(run: AuditVerification) -> list[ChainFault]:
    """What a run has found so far."""
    return [ChainFault(**fault) for fault in run.report.get("faults", [])]
