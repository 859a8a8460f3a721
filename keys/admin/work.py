"""What jobs are doing to a key just now: rotations, a conversion, a change of its HSM key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.core.exceptions import ObjectDoesNotExist

from accounts.models.approvals import Approval, ApprovalState
from keys.models import PersonalKey, Rotation, RotationState, SuccessionStep
from keys.models.exports import OPEN
from keys.rotation.errors import UnknownRotation
from keys.rotation.registry import kind_of
from keys.rotation.selectors import latest, unfinished
from keys.rotation.services import progress
from keys.services import DESTROY_KEY

_OF_ONE_KEY: Final = ("rewrap", "halves", "kms-key", "transport")


@dataclass(frozen=True, slots=True)
class OngoingOperation:
    """One thing that is going on. ``percent`` is None where steps cannot be counted."""

    title: str
    stands: str
    percent: int | None = None
    problem: str = ""


def ongoing_operations(key: PersonalKey) -> list[OngoingOperation]:
    """Everything that is, and what ended with failures last."""
    return [*_asked(key), *_rotations(key), *_failures(key), *_changes(key)]


def _asked(key: PersonalKey) -> Iterator[OngoingOperation]:
    """What waits for a second person."""
    waiting = Approval.objects.filter(kind=DESTROY_KEY, target_id=key.id.hex, state=ApprovalState.OPEN)
    for row in waiting.select_related("asked_by"):
        until = f"{row.expires_at:%Y-%m-%d %H:%M} UTC"
        yield OngoingOperation(
            "Destruction is asked for", f"by {row.asked_by.email}: {row.reason}. Another person decides by {until}."
        )


def _rotations(key: PersonalKey) -> Iterator[OngoingOperation]:
    scopes = ["all", f"tenant:{key.tenant_id.hex}", f"key:{key.id.hex}"]
    for row in unfinished().filter(scope__in=scopes):
        now = progress(row)
        left = "" if now.seconds_left is None else f", about {now.seconds_left:.0f} s left"
        yield OngoingOperation(title_of(row), f"{now.done} of {now.total} done{left}", now.percent, row.problem)


def _failures(key: PersonalKey) -> Iterator[OngoingOperation]:
    for kind in _OF_ONE_KEY:
        row = latest(kind, f"key:{key.id.hex}")
        if row is not None and row.state == RotationState.FAILED:
            yield OngoingOperation(
                title_of(row), "It failed; start it again when the cause is gone.", None, row.problem
            )


def _changes(key: PersonalKey) -> Iterator[OngoingOperation]:
    for name, title in (("conversion", "Conversion to a split key"), ("succession", "Change of the HSM key")):
        try:
            row = getattr(key, name)
        except ObjectDoesNotExist:
            continue
        until = getattr(row, "waits_until", None) if row.step == SuccessionStep.WAITING else None
        day = f", until {until:%Y-%m-%d %H:%M} UTC" if until else ""
        yield OngoingOperation(title, f"{row.get_step_display()}{day}.", None, row.problem)
    for export in key.exports.filter(state__in=OPEN):
        stands = f"{export.get_state_display()}. It can be downloaded from {export.due_at:%Y-%m-%d %H:%M} UTC."
        yield OngoingOperation("Export under a password, asked for by its owner", stands)
    try:
        refresh = key.half_refresh
    except ObjectDoesNotExist:
        return
    yield OngoingOperation("Renewal of the halves", f"{refresh.get_step_display()}.")


def title_of(rotation: Rotation) -> str:
    """What a rotation does, in plain words."""
    try:
        title = kind_of(rotation.kind).title
    except UnknownRotation:
        title = rotation.kind
    return title if rotation.scope.startswith("key:") else f"{title} ({rotation.scope.partition(':')[0]})"
