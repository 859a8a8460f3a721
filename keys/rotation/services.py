"""Services on rotations: start, resume, cancel. Each takes an ``actor`` and writes its audit row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.lifecycle.text import clean_reason
from keys.models import Rotation, RotationState
from keys.rotation.errors import KeyRotationRunning, RotationNotFound, WrongScope
from keys.rotation.jobs import actor_of, enqueue_after_commit, job_of, scope_of
from keys.rotation.protocol import RotationKind
from keys.rotation.registry import kind_of
from keys.rotation.scope import RotationScope

UNFINISHED: Final = (RotationState.PENDING, RotationState.RUNNING)
_LOCK_CLASS: Final = 0x6B657973  # "keys": PostgreSQL's advisory locks have two halves


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """How far it is. ``rate_per_second`` and ``seconds_left`` are None while nothing is known yet."""

    done: int
    failed: int
    total: int
    rate_per_second: float | None
    seconds_left: float | None

    @property
    def percent(self) -> int:
        return min(100, 100 * (self.done + self.failed) // self.total) if self.total else 0


def start(
    *,
    actor: Actor,
    kind: str,
    scope: RotationScope | str,
    dry_run: bool = False,
    nudge: bool = True,
    reason: str = "",
    **options: Any,
) -> Rotation:
    """Begin a rotation, or with ``dry_run`` count what it would change and change nothing.

    The jobs bring it on; with ``nudge`` False they leave the first minute to the caller, who calls ``runner.step``.
    Raises NotPermitted, WrongScope, UnknownRotation, KeyRotationRunning, and what the kind refuses with.
    """
    chosen, where = kind_of(kind), scope if isinstance(scope, RotationScope) else RotationScope.parse(scope)
    _authorise(chosen, actor, where)
    if where.kind not in chosen.scopes:
        raise WrongScope
    row = Rotation(
        kind=chosen.slug,
        group=chosen.group,
        scope=where.text,
        tenant_id=where.tenant_id,
        started_by={"type": actor.type, "id": actor.id, "label": actor.label},
    )
    # A rotation may be of one key, one tenant, or everything.
    with scopes_disabled():
        row.options = dict(chosen.check(where, options))
        return _rehearse(chosen, row, reason) if dry_run else _begin(row, reason, nudge=nudge)


def resume(*, actor: Actor, rotation: Rotation, reason: str = "") -> Rotation:
    """Work on one that failed or was cancelled again; nothing that is done is done twice. Raises as ``start``."""
    with transaction.atomic():
        row = _locked(rotation)
        _authorise(kind_of(row.kind), actor, scope_of(row))
        if row.state in UNFINISHED or row.is_dry_run or row.state == RotationState.DONE:
            raise RotationNotFound("There is no rotation here that could go on.")
        _refuse_second(row)
        row.state = RotationState.PENDING
        row.cursor, row.problem, row.waits, row.not_before, row.ended_at = "", "", 0, None, None
        row.failed, row.moved, row.report, row.heartbeat_at = 0, 0, {}, timezone.now()
        row.save()
        write(row, AuditTag.ROTATION_RESUMED, actor, **_why(reason))
        enqueue_after_commit(row.id)
    return row


def cancel(*, actor: Actor, rotation: Rotation, reason: str = "") -> Rotation:
    """End it where it is; what it has done stays done, and every key stays usable. Raises RotationNotFound."""
    with transaction.atomic():
        row = _locked(rotation)
        _authorise(kind_of(row.kind), actor, scope_of(row))
        if row.state not in UNFINISHED:
            raise RotationNotFound("This rotation has ended already.")
        row.state, row.ended_at, row.owner, row.lease_until = RotationState.CANCELLED, timezone.now(), "", 0
        row.fence += 1  # whoever works on it now finds the fence changed and undoes
        row.report = {**row.report, "seconds": seconds_of(row)}
        row.save()
        write(row, AuditTag.ROTATION_CANCELLED, actor, done=row.done, **_why(reason))
    return row


def progress(rotation: Rotation) -> RotationProgress:
    """What to show of a row, without a query."""
    is_going = rotation.state == RotationState.RUNNING and rotation.rate > 0
    left = max(rotation.total - rotation.done - rotation.failed, 0)
    return RotationProgress(
        rotation.done,
        rotation.failed,
        rotation.total,
        rotation.rate if is_going else None,
        left / rotation.rate if is_going else None,
    )


def as_dict(rotation: Rotation) -> dict[str, Any]:
    """The row as the commands print it with ``--json``."""
    found = progress(rotation)
    return {
        "id": str(rotation.id),
        "kind": rotation.kind,
        "scope": rotation.scope,
        "state": rotation.state,
        "dry_run": rotation.is_dry_run,
        "total": rotation.total,
        "done": rotation.done,
        "failed": rotation.failed,
        "rate_per_second": found.rate_per_second,
        "seconds_left": found.seconds_left,
        "waits_for": rotation.problem,
        "created_at": _iso(rotation.created_at),
        "started_at": _iso(rotation.started_at),
        "ended_at": _iso(rotation.ended_at),
        "report": rotation.report,
    }


def seconds_of(rotation: Rotation) -> float:
    """From its beginning to its end, or to now."""
    begun, ended = rotation.started_at or rotation.created_at, rotation.ended_at or timezone.now()
    return round(max((ended - begun).total_seconds(), 0.0), 3)


def write(
    rotation: Rotation, tag: AuditTag, actor: Actor, outcome: AuditOutcome = AuditOutcome.OK, **data: Any
) -> None:
    """An audit row about a rotation, in its tenant's chain or the platform's."""
    scope = scope_of(rotation)
    facts = {"rotation": rotation.id.hex, "kind": rotation.kind, "scope": rotation.scope, **data}
    key_id = scope.key_id.hex if scope.key_id else ""
    record(AuditEntry(chain_of(rotation.tenant_id), tag, outcome, actor, key_id=key_id, data=facts))


@transaction.atomic
def _rehearse(kind: RotationKind, row: Rotation, reason: str) -> Rotation:
    row.is_dry_run, row.state = True, RotationState.DONE
    row.started_at = row.ended_at = timezone.now()
    row.total = kind.count(job_of(row))
    row.report = {"would_change": row.total}
    row.save(force_insert=True)
    write(row, AuditTag.ROTATION_REHEARSED, actor_of(row), would_change=row.total, **_why(reason))
    return row


def _begin(row: Rotation, reason: str, *, nudge: bool) -> Rotation:
    try:
        with transaction.atomic():
            _refuse_second(row)
            row.heartbeat_at = timezone.now()
            row.save(force_insert=True)
            write(row, AuditTag.ROTATION_STARTED, actor_of(row), **_why(reason))
            if nudge:
                enqueue_after_commit(row.id)
    except IntegrityError:
        raise KeyRotationRunning from None
    return row


def _refuse_second(row: Rotation) -> None:
    """Raise KeyRotationRunning beside an unfinished one of the group whose scope overlaps (threats K7).

    Only one process at a time looks: SQLite's transactions are exclusive, PostgreSQL has an advisory lock.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_CLASS, row.group])
    wanted = scope_of(row)
    for other in Rotation.objects.filter(group=row.group, state__in=UNFINISHED).exclude(pk=row.pk):
        if wanted.overlaps(scope_of(other)):
            raise KeyRotationRunning(
                f"A rotation of the same things is already running ({other.kind}, {other.scope}, {other.id}). "
                "Wait for it, or cancel it."
            )


def _authorise(kind: RotationKind, actor: Actor, scope: RotationScope) -> None:
    # A rotation may be of one key, one tenant, or everything.
    with scopes_disabled():
        kind.authorise(actor, scope)


def _locked(rotation: Rotation) -> Rotation:
    row: Rotation | None = Rotation.objects.select_for_update().filter(pk=rotation.pk).first()
    if row is None:
        raise RotationNotFound
    return row


def _why(reason: str) -> dict[str, Any]:
    text = clean_reason(reason)
    return {"reason": text} if text else {}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
