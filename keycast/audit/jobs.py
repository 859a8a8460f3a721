"""Background jobs of the audit log: checkpoints, verification. They take ids only, and may run twice."""

from __future__ import annotations

from typing import Final

import structlog
from django_q.tasks import async_task

from keycast.audit import checkpoints, publishing, verification_runs
from keycast.audit.entries import Actor
from keycast.audit.errors import VerificationRunning
from keycast.audit.models import AuditVerification

log = structlog.get_logger(__name__)

SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("sign checkpoints of the audit log", "keycast.audit.jobs.sign_checkpoints", 1),
    ("carry on verifications of the audit log", "keycast.audit.jobs.carry_on_verifications", 1),
)
"""Name, dotted path, minutes between runs."""
SINGLE: Final[tuple[str, ...]] = ("keycast.audit.jobs.carry_on_verification",)
"""Jobs for one verification, by its id."""


def sign_checkpoints() -> int:
    """Make the checkpoints that are due, and carry out of the database what is not there yet."""
    made, broken = checkpoints.make_due()
    for fault in broken:
        log.critical("audit_chain_broken", chain=fault.chain, sequence=fault.sequence, problem="found by a checkpoint")
    try:
        publishing.publish()
    except OSError as error:
        log.error("audit_checkpoint_not_written", reason=type(error).__name__, errno=error.errno)
    return made


def verify_daily() -> AuditVerification | None:
    """The daily verification of every chain, begun and carried on in this job; None while the last one still runs."""
    try:
        run = verification_runs.scheduled(Actor.system("jobs"))
    except VerificationRunning:
        log.warning("audit_verification_still_running")
        return None
    carry_on_verification(run.id)
    run.refresh_from_db()
    return run


def begin(run: AuditVerification) -> None:
    """Have the job cluster carry a verification out, from now on."""
    async_task("keycast.audit.jobs.carry_on_verification", run.id)


def carry_on_verification(run_id: int) -> bool:
    """One slice of a verification; asks for the next itself."""
    is_done = verification_runs.carry_on(run_id)
    if not is_done and run_id in verification_runs.stalled():
        async_task("keycast.audit.jobs.carry_on_verification", run_id)
    return is_done


def carry_on_verifications() -> None:
    """Take up those that nobody carries on: their process was killed, or their job was lost."""
    for run_id in verification_runs.stalled():
        carry_on_verification(run_id)
