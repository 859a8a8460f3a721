"""An inventory of an HSM: begun once, made in steps that jobs or a command take, its result kept.

::

    hsm    the HSM's keys, page by page: those that no row names are looked at, and remembered as orphans
    rows   the rows that name an HSM key, in order of their ids: each is looked up there and compared

Rows are read after the HSM was asked, and a row names its HSM key before the HSM makes it: what is in no row then was
in none. A row that changed while it was looked at is left for the next inventory. A step that is killed is done again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import KeycastError
from keys.hsm.inventory import orphans
from keys.hsm.inventory.compare import NEED_ATTENTION, Discrepancy, InventoryFinding, compare
from keys.hsm.inventory.listing import HsmKey, HsmKeyReader, HsmKeyVersionState, hsm_key_readers
from keys.hsm.inventory.naming import named
from keys.hsm_errors import HsmForbidden, HsmMisconfigured
from keys.models import HsmInventory, InventoryState, KeyState, PersonalKey, Succession

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 10.0
"""A step ends after so long, so that other jobs get their turn."""
LEASE: Final = timedelta(minutes=3)
MAX_FAILURES: Final = 5
A_BATCH: Final = 20
FINDINGS_KEPT: Final = 1000
FOREIGN_KEPT: Final = 200
RUNS_KEPT: Final = 10
_HSM, _ROWS = "hsm", "rows"
_COLUMNS: Final = (
    *("id", "tenant_id", "hsm_provider", "state", "state_reason", "state_changed_at", "created_at"),
    *("public_key", "kms_key_name", "kms_key_version", "authoriser_public_key", "hsm_is_disabled"),
)


def start(*, actor: Actor, provider: str, reason: str = "") -> HsmInventory:
    """Begin an inventory, or give the one that is under way."""
    why = {"why": reason} if reason else {}
    try:
        with transaction.atomic():
            name = (actor.label or actor.id)[:200]
            return HsmInventory.objects.create(provider=provider, asked_by=name, report=why)
    except IntegrityError:
        running = HsmInventory.objects.filter(provider=provider, state=InventoryState.RUNNING).first()
        return running or start(actor=actor, provider=provider, reason=reason)  # it ended in this moment


def advance(inventory_id: UUID) -> HsmInventory:
    """Bring an inventory on for some seconds, unless another process does or it has ended. Never raises for HSMs."""
    run = _with_lease(inventory_id)
    stock = hsm_key_readers().get(run.provider) if run else None
    if run is None:
        return HsmInventory.objects.get(pk=inventory_id)
    try:
        if stock is None:
            return _end(run, InventoryState.FAILED, "This HSM is not set up any more.")
        _advance(run, stock)
    except KeycastError as error:
        _failed(run, error)
    finally:  # the lease alone: after an error, what is in memory may be half of a batch
        HsmInventory.objects.filter(pk=run.pk, state=InventoryState.RUNNING).update(lease_until=timezone.now())
    return run


def advance_all() -> int:
    """One step of every inventory that is under way; how many there are. For the schedule."""
    running = list(HsmInventory.objects.filter(state=InventoryState.RUNNING).values_list("pk", flat=True))
    for inventory_id in running:
        advance(inventory_id)
    return len(running)


def fail(run: HsmInventory, problem: str) -> HsmInventory:
    """End an inventory that cannot go on. One that has ended stays as it is."""
    return _end(run, InventoryState.FAILED, problem) if run.state == InventoryState.RUNNING else run


class _Budget:
    """How much one step may do: seconds, and reads where the HSM has a quota of them."""

    def __init__(self, reads_a_minute: int) -> None:
        self._until = time.monotonic() + STEP_SECONDS
        self._reads = reads_a_minute or None

    def took(self, reads: int) -> None:
        if self._reads is not None:
            self._reads -= reads

    @property
    def is_spent(self) -> bool:
        return time.monotonic() > self._until or (self._reads is not None and self._reads <= 0)


def _with_lease(inventory_id: UUID) -> HsmInventory | None:
    """The inventory, if nobody else is at it."""
    now = timezone.now()
    free = HsmInventory.objects.filter(pk=inventory_id, state=InventoryState.RUNNING, lease_until__lte=now)
    return HsmInventory.objects.get(pk=inventory_id) if free.update(lease_until=now + LEASE) else None


def _advance(run: HsmInventory, stock: HsmKeyReader) -> None:
    budget = _Budget(stock.reads_a_minute)
    while run.state == InventoryState.RUNNING and not budget.is_spent:
        if run.phase == _HSM:
            _next_page(run, stock, budget)
        else:
            _next_rows(run, stock, budget)


def _next_page(run: HsmInventory, stock: HsmKeyReader, budget: _Budget) -> None:
    """A page of the HSM's keys. Those in no row are looked at a few at a time: ``report["left"]`` are still to do."""
    left: list[str] = run.report.get("left", [])
    if not left and not run.report.get("is_read"):
        page = stock.page(run.cursor)
        budget.took(1)
        known = named([held.name for held in page.held if held.is_ours])
        left = [held.name for held in page.held if held.is_ours and held.name not in known]
        foreign = [held.name for held in page.held if not held.is_ours]
        run.report["foreign"] = [*run.report.get("foreign", []), *foreign][:FOREIGN_KEPT]
        run.report["foreign_count"] = run.report.get("foreign_count", 0) + len(foreign)
        run.report["in_hsm"] = run.report.get("in_hsm", 0) + len(page.held) - len(foreign)
        _add(run, (InventoryFinding(Discrepancy.UNSEEN, unseen) for unseen in page.unseen))
        run.cursor, run.report["is_read"] = page.cursor, not page.cursor
    now_at, run.report["left"] = left[:A_BATCH], left[A_BATCH:]
    for name in now_at:
        _look_at_unnamed(run, stock, name)
    budget.took(len(now_at))
    if run.report["is_read"] and not run.report["left"]:
        run.phase, run.cursor = _ROWS, ""
        run.total = _rows(run).count()
    _save(run)


def _look_at_unnamed(run: HsmInventory, stock: HsmKeyReader, name: str) -> None:
    held = stock.look(name)
    if held is None or not held.alive or named([name]):  # ended, or a row has come to name it
        return
    orphan = orphans.record_orphan(run.provider, name, [version.name for version in held.alive])
    if orphan.is_undecided:
        is_off = all(version.state is HsmKeyVersionState.DISABLED for version in held.alive)
        _add(run, [InventoryFinding(Discrepancy.RETIRED if is_off else Discrepancy.ORPHAN, name)])


def _next_rows(run: HsmInventory, stock: HsmKeyReader, budget: _Budget) -> None:
    rows = list(_rows(run).only(*_COLUMNS)[:A_BATCH])
    found, unseen = _look_up(stock, rows)
    budget.took(2 * len(rows))
    # The HSM holds keys of every tenant.
    with scopes_disabled():
        again = PersonalKey.objects.only(*_COLUMNS).in_bulk([row.pk for row in rows])
        # While a key's HSM key is being replaced there are two, and both are right.
        changing = set(Succession.objects.filter(key_id__in=list(again)).values_list("key_id", flat=True))
    now = timezone.now()
    for row in rows:
        after = again.get(row.pk)
        if row.pk in unseen:
            _add(run, [InventoryFinding(Discrepancy.UNSEEN, row.kms_key_name, row.pk.hex, unseen[row.pk])])
        elif after is not None and _is_same(row, after) and row.pk not in changing:
            _add(run, compare(row, *found[row.pk], now))
    run.done += len(rows)
    if len(rows) < A_BATCH:
        _finish(run)
        return
    run.cursor = rows[-1].pk.hex
    _save(run)


def _look_up(
    stock: HsmKeyReader, rows: list[PersonalKey]
) -> tuple[dict[UUID, tuple[HsmKey | None, bytes | None]], dict[UUID, str]]:
    """What was seen of each row's key, and why one could not be seen: it is in a ring of before, say.

    That one key is not to be looked at is a finding; that none of them is, is raised.
    """
    found, unseen = {}, {}
    for row in rows:
        try:
            found[row.pk] = read_hsm_key(stock, row)
        except (HsmForbidden, HsmMisconfigured) as error:
            unseen[row.pk] = error.public_message
            if len(unseen) == len(rows):
                raise
    return found, unseen


def read_hsm_key(stock: HsmKeyReader, row: PersonalKey) -> tuple[HsmKey | None, bytes | None]:
    """What the HSM holds of a row's key, and its public key where it can tell one. Up to two reads."""
    held = stock.look(row.kms_key_name)
    version = row.kms_key_version or row.kms_key_name
    if row.state == KeyState.PENDING or held is None or not _can_tell(held, version):
        return held, None
    return held, stock.public_key(version)


def _can_tell(held: HsmKey, version: str) -> bool:
    """Whether the HSM can tell a public key of ours for this version."""
    return any(v.name == version and v.is_right_kind and v.state is HsmKeyVersionState.USABLE for v in held.versions)


def _rows(run: HsmInventory) -> QuerySet[PersonalKey]:
    """Those that are still to be looked at, in order."""
    # The HSM holds keys of every tenant.
    with scopes_disabled():
        rows: QuerySet[PersonalKey] = PersonalKey.objects.filter(key_mode=KeyMode.HSM, hsm_provider=run.provider)
        rows = rows.exclude(kms_key_name="").order_by("pk")
        return rows.filter(pk__gt=UUID(run.cursor)) if run.cursor else rows


def _is_same(before: PersonalKey, after: PersonalKey) -> bool:
    return all(getattr(before, column) == getattr(after, column) for column in _COLUMNS if column != "state_reason")


def _add(run: HsmInventory, findings: Iterable[InventoryFinding]) -> None:
    counts: dict[str, int] = run.report.setdefault("counts", {})
    kept: list[dict[str, Any]] = run.report.setdefault("findings", [])
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        if len(kept) < FINDINGS_KEPT:
            kept.append(finding.as_dict())


def attention_count(run: HsmInventory) -> int:
    """How many findings want somebody to look."""
    counts: dict[str, int] = run.report.get("counts", {})
    return sum(count for kind, count in counts.items() if kind in NEED_ATTENTION)


def _finish(run: HsmInventory) -> None:
    orphans.close_unseen(run.provider, run.started_at)
    run.report.pop("left", None)
    run.report.pop("is_read", None)
    run.failures = 0
    _end(run, InventoryState.DONE, "")
    old = HsmInventory.objects.filter(provider=run.provider).exclude(state=InventoryState.RUNNING)
    kept = list(old.order_by("-started_at").values_list("pk", flat=True)[:RUNS_KEPT])
    old.exclude(pk__in=kept).delete()


def _failed(run: HsmInventory, error: KeycastError) -> None:
    """Try again with the next step, MAX_FAILURES times in a row at most."""
    fresh = HsmInventory.objects.get(pk=run.pk)  # what the broken step had in memory does not count
    for field in ("phase", "cursor", "done", "total", "report"):
        setattr(run, field, getattr(fresh, field))
    run.failures, run.problem = fresh.failures + 1, error.public_message[:200]
    logger.warning("the inventory of an HSM waits", extra={"provider": run.provider, "code": error.code})
    if run.failures >= MAX_FAILURES:
        _end(run, InventoryState.FAILED, run.problem)
        return
    HsmInventory.objects.filter(pk=run.pk).update(failures=run.failures, problem=run.problem)


def _end(run: HsmInventory, state: InventoryState, problem: str) -> HsmInventory:
    run.state, run.problem, run.finished_at = state, problem[:200], timezone.now()
    outcome = AuditOutcome.OK if state == InventoryState.DONE else AuditOutcome.FAILED
    data = {"provider": run.provider, "asked_by": run.asked_by, "reason": run.problem, **_numbers(run)}
    with transaction.atomic():
        run.save()
        record(AuditEntry(chain_of(None), AuditTag.HSM_INVENTORY_TAKEN, outcome, Actor.system("jobs"), data=data))
    return run


def _numbers(run: HsmInventory) -> dict[str, Any]:
    return {"keys": run.done, "findings": run.report.get("counts", {}), "why": run.report.get("why", "")}


def _save(run: HsmInventory) -> None:
    """What was found so far, and a fresh lease; a batch that went well forgets the failures before it."""
    run.lease_until, run.failures, run.problem = timezone.now() + LEASE, 0, ""
    run.save(update_fields=["phase", "cursor", "done", "total", "report", "lease_until", "failures", "problem"])


def latest(provider: str) -> Iterator[HsmInventory]:
    """The newest finished inventory, and a newer one that is under way or was given up."""
    runs = HsmInventory.objects.filter(provider=provider)
    done = runs.filter(state=InventoryState.DONE).order_by("-started_at").first()
    newest = runs.order_by("-started_at").first()
    if done:
        yield done
    if newest and newest != done:
        yield newest
