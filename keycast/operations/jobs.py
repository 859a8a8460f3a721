"""Background jobs: what runs, how often, and that it did run. Schedules exist in code alone.

A job runs only if it is in the tables below; that is looked up where it runs (job_packages.JobCall). Of a schedule's
row only the time is used (job_cluster), for whoever can write the table could name any path in it: rows that these
tables do not have are refused, written down and removed. Scheduled jobs take no arguments; all may run twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
from django.core.management import call_command
from django.db import transaction
from django.utils.module_loading import import_string
from django_q.models import Schedule

from accounts import seal_checks
from accounts.mail import jobs as mail_jobs
from accounts.panic.services import expire_releases
from accounts.services.domains import check_claims
from accounts.staff.approvals.services import expire as expire_approvals
from bunker.services import ended_apps, grant_seals
from bunker.services.pairing import lapse_unused_secrets
from bunker.services.transports import retire_transports
from bunker.traffic import rollup
from bunker.worker.maintenance import prune
from keycast.audit import jobs as audit_jobs
from keycast.audit import verification_runs
from keycast.audit.journal_writer import catch_up
from keycast.base import service_status
from keycast.base.errors import KeycastError
from keycast.operations import heartbeats, job_records
from keys import jobs as key_jobs
from keys import owner_seals
from keys.exporting import seals as export_seals

log = structlog.get_logger(__name__)

HOUR: Final = 60
DAY: Final = 24 * HOUR

SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("heartbeat", "keycast.operations.jobs.heartbeat", 1),
    ("close unused bunker URLs", "keycast.operations.jobs.close_unused_bunker_urls", 5),
    ("tell the co-signer of ended apps", "keycast.operations.jobs.tell_cosigner_of_ended_apps", 5),
    ("close overdue requests for approval", "keycast.operations.jobs.close_overdue_approvals", 5),
    ("look for proofs of host names", "keycast.operations.jobs.check_host_names", 10),
    ("retire replaced remote-signer keys", "keycast.operations.jobs.retire_replaced_signers", 1),
    ("forget old requests", "keycast.operations.jobs.forget_old_requests", 10),
    ("sum up figures", "keycast.operations.jobs.sum_up_figures", 10),
    ("forget old runs of jobs", "keycast.operations.jobs.forget_old_runs", HOUR),
    ("fill the restore journal", "keycast.operations.jobs.fill_restore_journal", 5),
    ("renew seals of apps", "keycast.operations.jobs.renew_seals", DAY),
    ("forget ended sessions", "keycast.operations.jobs.forget_ended_sessions", DAY),
    ("verify the audit log", "keycast.operations.jobs.verify_audit_log", DAY),
    *mail_jobs.SCHEDULES,
    *audit_jobs.SCHEDULES,
    *key_jobs.SCHEDULES,
)
"""Name, dotted path, minutes between runs."""


SINGLE: Final[tuple[str, ...]] = (*mail_jobs.SINGLE, *audit_jobs.SINGLE, *key_jobs.SINGLE)
"""Jobs for one mail, key or run, queued with its id soon after the change; a scheduled one does the same for all."""
_HERE: Final = "keycast.operations.jobs."
_FORMER: Final = "keycast.jobs."
"""Where the jobs of this module were until 0.1; queues of an installed database may name them so. Until 0.2."""
_RENAMED: Final = {_HERE + "carry_endings": _HERE + "fill_restore_journal"}
_FORMER_SCHEDULES: Final = ("carry endings",)
"""What was called otherwise until 0.1; for as long."""


class JobNotRegistered(KeycastError):
    """Something asked for a job that the tables in code do not have."""

    code = "job-not-registered"
    public_message = "This is no job of Keycast. Somebody may have written to the tables of the job queue."


def is_registered(path: str) -> bool:
    """Whether the tables have a job of that path."""
    return _present(path) in _REGISTERED


def registered(path: str) -> Callable[..., object]:
    """The job of that path. Raises JobNotRegistered; nothing is imported then."""
    if not is_registered(path):
        raise JobNotRegistered
    job: Callable[..., object] = import_string(_present(path))
    return job


def _former_paths() -> list[str]:
    """Under which paths the schedules that were renamed are in a database: ours, so nobody is to be told of them."""
    return [place + path.removeprefix(_HERE) for path in _RENAMED for place in (_HERE, _FORMER)]


def _present(path: str) -> str:
    here = _HERE + path.removeprefix(_FORMER) if path.startswith(_FORMER) else path
    return _RENAMED.get(here, here)


_REGISTERED: Final = frozenset({*(path for _, path, _ in SCHEDULES), *SINGLE})
REFUSED_SHOWN: Final = 20


@transaction.atomic
def register_schedules() -> None:
    """Make the schedule rows say what SCHEDULES says, no more and no less; what else they say is written down.

    Four queries when nothing is to be changed. Never reads a time.
    """
    names = {name: (path, minutes) for name, path, minutes in SCHEDULES}
    Schedule.objects.filter(name__in=_FORMER_SCHEDULES, func__in=_former_paths()).delete()
    foreign = Schedule.objects.exclude(name__in=names)
    for path in list(foreign.values_list("func", flat=True)[:REFUSED_SHOWN]):
        job_records.refuse(str(path), "A row of the schedule's table named it, and was removed.")
    foreign.delete()
    rows: dict[str, list[dict[str, Any]]] = {}
    columns = ("func", "args", "kwargs", "hook", "schedule_type", "minutes", "repeats")
    for row in Schedule.objects.values("name", *columns)[: 10 * len(names)]:
        rows.setdefault(row.pop("name"), []).append(row)
    for name, (path, minutes) in names.items():
        wanted = {"func": path, "schedule_type": Schedule.MINUTES, "minutes": minutes, "repeats": -1}
        found = rows.get(name, [])
        if found != [{"args": None, "kwargs": None, "hook": None, **wanted}]:
            for path_there in {str(row["func"]) for row in found if not is_registered(str(row["func"]))}:
                job_records.refuse(path_there, "A row of the schedule's table named it, and was put right.")
            Schedule.objects.filter(name=name).delete()
            Schedule.objects.create(name=name, **wanted)


def heartbeat() -> None:
    """Leave a sign that jobs run, and what the HSMs and other services answer them."""
    heartbeats.record_heartbeat(heartbeats.JOBS, {"services": service_status.report()})


def sum_up_figures() -> int:
    """Add up the figures of past minutes to hours, and forget old ones; returns how many rows were forgotten."""
    rollup.roll_up()
    return rollup.forget()


def forget_old_runs() -> int:
    """Forget old runs of background jobs and old incidents; returns how many."""
    return job_records.forget()


def close_unused_bunker_urls() -> int:
    """Close connections whose one-time secret nobody used in time."""
    return lapse_unused_secrets()


def tell_cosigner_of_ended_apps() -> int:
    """Tell the co-signer of split keys which apps may ask for nothing more; returns how many it has heard of."""
    return ended_apps.tell_cosigner()


def check_host_names() -> int:
    """Look in the DNS for proofs of the host names that tenants claim."""
    return check_claims()


def close_overdue_approvals() -> int:
    """Close requests for a second person's approval that nobody decided on in time."""
    return expire_approvals() + expire_releases()


def retire_replaced_signers() -> int:
    """End apps on replaced remote-signer keys when their grace period is over, and then those keys."""
    return retire_transports()


def forget_old_requests() -> int:
    """Drop requests and changes that have been remembered long enough."""
    return prune()


def fill_restore_journal() -> int:
    """Write to the restore journal what a crash or a full disk kept from it; returns how many lines."""
    return catch_up()


def renew_seals() -> int:
    """Seal anew what has a seal where the field key was replaced, and tell staff of seals that do not fit."""
    accounts, broken = seal_checks.renew_accounts()
    owners, broken_keys = owner_seals.renew_owners()
    exports, broken_exports = export_seals.renew_exports()
    seal_checks.tell({**broken, "keys": broken_keys, "requests for exports": broken_exports})
    return grant_seals.renew() + accounts + owners + exports


def forget_ended_sessions() -> None:
    """Drop sessions that have run out."""
    call_command("clearsessions")


def verify_audit_log() -> bool:
    """Check every chain, once a week from its beginning; False when one is broken or there is no result yet."""
    run = audit_jobs.verify_daily()
    return run is not None and run.state == run.State.INTACT


def last_verification() -> dict[str, object] | None:
    """When the audit log was last verified (``at``, Unix seconds) and what was found; None when it never was."""
    run = verification_runs.last_finished()
    if run is None or run.finished_at is None:
        return None
    return {**run.report, "at": run.finished_at.timestamp(), "intact": run.state == run.State.INTACT}


def seconds_since_heartbeat() -> float | None:
    """How long ago a job last gave a sign; None when none ever did."""
    return heartbeats.seconds_since_heartbeat(heartbeats.JOBS)
