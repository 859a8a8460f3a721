"""What can be asked for: each kind names its duties, tells in words what will happen, and does it once approved.

Apps register theirs when they are ready::

    register(ApprovalKind(slug="destroy-key", title="Destroy a key", run=_destroy, describe=_describe,
                          duty_to_ask=Duty.DESTROY))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound


@dataclass(frozen=True, slots=True)
class ApprovalProof:
    """The proof that two persons agreed, handed to ``ApprovalKind.run`` and by it to the service it calls.

    Services demand it of staff (services.spend): it is looked up in the database, must be for exactly this deed, and
    is good for once. ``actor`` is who approved, ``asked_by`` who asked (an e-mail address, for people to read).
    """

    approval_id: UUID
    actor: Actor
    asked_by: str
    kind: str
    target_id: str
    reason: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def _nowhere(target_id: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ApprovalKind:
    """One thing that needs two persons.

    ``run(approval proof)`` does it, inside the transaction that decides; what it refuses with is shown and leaves the
    request open. ``describe(target_id, parameters)`` says in one line what will happen and raises NotFound for a target
    that is not there. ``page(target_id)`` is the address of the target in the admin, or nothing.
    """

    slug: str
    title: str
    run: Callable[[ApprovalProof], Any]
    describe: Callable[[str, Mapping[str, Any]], str]
    permission_to_request: StaffPermission
    permission_to_approve: StaffPermission = StaffPermission.APPROVE
    page: Callable[[str], str] = _nowhere


_KINDS: Final[dict[str, ApprovalKind]] = {}


def register(kind: ApprovalKind) -> None:
    """Make a kind known; once, when its app is ready."""
    if kind.slug in _KINDS:
        raise ValueError(f"the kind {kind.slug} is registered already")
    _KINDS[kind.slug] = kind


def kind_of(slug: str) -> ApprovalKind:
    """The kind by its slug. Raises NotFound, also for one of a newer or older version of the program."""
    try:
        return _KINDS[slug]
    except KeyError:
        raise NotFound(f"Nothing called {slug} can be asked for.") from None


def all_kinds() -> list[ApprovalKind]:
    """Every kind there is, by title."""
    return sorted(_KINDS.values(), key=lambda kind: kind.title)
