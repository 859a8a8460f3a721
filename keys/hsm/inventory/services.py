"""What people and jobs do about inventories of HSMs (keys.hsm.inventory), and who may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.staff.approvals.kinds import ApprovalProof
from accounts.staff.approvals.services import use_proof
from accounts.staff.roles import StaffPermission
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys import access
from keys.hsm import providers as hsm_providers
from keys.hsm.inventory import orphans, runs
from keys.hsm.inventory.compare import ADVICE, NEED_ATTENTION, TITLES, Discrepancy
from keys.lifecycle.text import clean_reason
from keys.models import HsmInventory, HsmOrphan, InventoryState

DESTROY_ORPHAN: Final = "destroy-hsm-orphan"
"""The kind of request (accounts.staff.approvals) for ``condemn``."""
OUTDATED_AFTER: Final = timedelta(days=2)
"""An inventory is made every day; an older result wants somebody to look why."""
orphan_of = orphans.orphan_of


class NoSuchHsm(KeycastError):
    """An inventory of an HSM that this deployment does not have."""

    code = "no-such-hsm"
    public_message = "No such HSM is set up on this server."
    http_status = 404


@dataclass(frozen=True, slots=True)
class InventoryFindingGroup:
    """Findings of one kind, in words. ``count`` may be more than the ``findings`` that were kept."""

    kind: str
    title: str
    advice: str
    count: int
    is_urgent: bool
    findings: list[Mapping[str, Any]]


def providers() -> list[str]:
    """The HSMs that are set up here; no call is made to any."""
    found = {name: hsm.is_set_up() for name, hsm in hsm_providers.hsms()}
    return [name for name in settings.HSM_PROVIDERS if found.get(name)]


def start_inventory(*, actor: Actor, provider: str, reason: str = "", soon: bool = True) -> HsmInventory:
    """Begin an inventory, or give the one that is under way; ``soon``: have a job begin right away.

    Raises NotPermitted, NoSuchHsm.
    """
    access.require_platform(actor)
    if provider not in providers():
        raise NoSuchHsm
    with transaction.atomic():
        started = runs.start(actor=actor, provider=provider, reason=clean_reason(reason))
        if soon:
            transaction.on_commit(partial(_enqueue, started.pk))
    return started


def step(inventory_id: UUID) -> HsmInventory:
    """Bring one on for some seconds. Never raises for the HSM."""
    return runs.advance(inventory_id)


def fail_inventory(*, actor: Actor, inventory: HsmInventory, problem: str) -> HsmInventory:
    """End an inventory that cannot go on. Raises NotPermitted."""
    access.require_platform(actor)
    return runs.fail(inventory, problem)


def advance_all() -> int:
    """A step of every inventory that is under way, and the end of orphans that two persons gave up; how many."""
    return runs.advance_all() + orphans.destroy_condemned()


def start_all() -> int:
    """Begin an inventory of every HSM that is set up; for the schedule."""
    return len([start_inventory(actor=Actor.system("jobs"), provider=provider) for provider in providers()])


def latest(provider: str) -> Iterator[HsmInventory]:
    """The newest finished inventory, then a newer one that is under way or was given up."""
    return runs.latest(provider)


def is_old(inventory: HsmInventory) -> bool:
    """Whether its result is older than it should be."""
    return timezone.now() - inventory.started_at > OUTDATED_AFTER


def attention_count(inventory: HsmInventory) -> int:
    """How many findings want somebody to look."""
    return runs.attention_count(inventory)


def groups(inventory: HsmInventory) -> list[InventoryFindingGroup]:
    """Its findings by kind, in words."""
    counts: dict[str, int] = inventory.report.get("counts", {})
    kept: list[dict[str, Any]] = inventory.report.get("findings", [])
    return [
        InventoryFindingGroup(
            kind.value,
            TITLES[kind],
            ADVICE[kind],
            counts[kind],
            kind in NEED_ATTENTION,
            [finding for finding in kept if finding["kind"] == kind],
        )
        for kind in Discrepancy
        if counts.get(kind)
    ]


def as_dict(inventory: HsmInventory) -> dict[str, Any]:
    """For the command's JSON."""
    report = inventory.report
    return {
        "id": str(inventory.pk),
        "provider": inventory.provider,
        "state": inventory.state,
        "problem": inventory.problem,
        "started_at": inventory.started_at.isoformat(),
        "finished_at": inventory.finished_at.isoformat() if inventory.finished_at else None,
        "rows": inventory.done,
        "in_hsm": report.get("in_hsm", 0),
        "counts": report.get("counts", {}),
        "findings": report.get("findings", []),
        "foreign_count": report.get("foreign_count", 0),
        "foreign": report.get("foreign", []),
        "needs_a_look": attention_count(inventory),
    }


def is_over(inventory: HsmInventory) -> bool:
    """Whether it has ended, one way or the other."""
    return bool(inventory.state != InventoryState.RUNNING)


def ignore(*, actor: Actor, orphan: HsmOrphan, reason: str) -> HsmOrphan:
    """Leave a key in the HSM that no row names as it is. Raises NotPermitted, InvalidTransition."""
    access.require_platform(actor)
    return orphans.ignore(actor=actor, orphan=orphan, reason=reason)


def reopen(*, actor: Actor, orphan: HsmOrphan, reason: str) -> HsmOrphan:
    """Take back what was decided about it. Raises NotPermitted, InvalidTransition."""
    access.require_platform(actor)
    return orphans.reopen(actor=actor, orphan=orphan, reason=reason)


@transaction.atomic
def condemn(*, actor: Actor, orphan: HsmOrphan, reason: str, approval_proof: ApprovalProof | None = None) -> HsmOrphan:
    """Have a job destroy it in the HSM. Staff need two persons (``approval proof``). Raises ApprovalRequired,
    NotPermitted."""
    access.require_platform(actor, StaffPermission.DESTROY)
    proof = use_proof(actor=actor, kind=DESTROY_ORPHAN, target_id=orphan.pk.hex, approval_proof=approval_proof)
    row = orphans.condemn(actor=actor, orphan=orphan, reason=reason, asked_by=proof.get("asked_by", ""))
    transaction.on_commit(_enqueue_end)
    return row


def _enqueue(inventory_id: UUID) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.step_inventory", str(inventory_id))


def _enqueue_end() -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.go_on_with_inventories")
