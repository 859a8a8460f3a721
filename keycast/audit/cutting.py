"""Retention: removes old rows of a chain, and leaves a signed statement in their place, so that verification goes on.

In this order, so that a kill anywhere costs nothing: the rows are verified; the cut is signed, stored together with a
row that says who and why, and carried out of the database; then the rows go, in small transactions. The database lets
rows go only where a cut stands (keycast.audit.triggers), and on PostgreSQL only its owner may write one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import transaction

from keycast.audit import publishing
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import ChainBroken, NoCheckpointKey, RetentionTooShort
from keycast.audit.models import AuditCheckpoint, AuditCut, AuditRetention, AuditRow
from keycast.audit.services import record
from keycast.audit.signing import StatementSigner
from keycast.audit.statements import Cut, key_id
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.audit.verification import ChainVerifier

BATCH: Final = 2000
"""Rows that go in one transaction: on SQLite nothing else is written meanwhile."""
_DAY: Final = 24 * 3600 * 1_000_000
LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class CutPlan:
    """What would be removed: the rows ``first`` to ``through``, all older than ``days`` days."""

    chain: str
    days: int
    first: int
    through: int
    checkpoint: AuditCheckpoint

    @property
    def count(self) -> int:
        return self.through - self.first + 1


def retention_days(chain: str) -> int:
    """For how many days the chain's rows are kept; 0: for ever."""
    least = int(settings.AUDIT_RETENTION_DAYS)
    own = AuditRetention.objects.filter(chain=chain).values_list("days", flat=True).first() or 0
    return max(least, own) if least > 0 else 0


@transaction.atomic
def set_retention_days(*, actor: Actor, chain: str, days: int) -> None:
    """Keep a chain's rows for longer than the platform does. Raises RetentionTooShort."""
    if not 0 < settings.AUDIT_RETENTION_DAYS <= days <= 36_500:
        raise RetentionTooShort
    AuditRetention.objects.update_or_create(chain=chain, defaults={"days": days})
    record(AuditEntry(chain, AuditTag.AUDIT_RETENTION_CHANGED, AuditOutcome.OK, actor, data={"days": days}))


def plan(chain: str, now: float | None = None) -> CutPlan | None:
    """What there is to cut: rows below the newest checkpoint that is itself old enough. None: nothing."""
    days = retention_days(chain)
    if days == 0:
        return None
    before = int((now or time.time()) * 1_000_000) - days * _DAY
    # Of the checkpoint's own age: every row below it is older still.
    points = AuditCheckpoint.objects.filter(chain=chain, at__lt=before).order_by("-size")
    point, last = points.first(), last_cut(chain)
    first = last.through + 1 if last else 1
    if point is None or point.size < first:
        return None
    return CutPlan(chain, days, first, point.size, point)


def last_cut(chain: str) -> AuditCut | None:
    """The newest cut of a chain."""
    return AuditCut.objects.filter(chain=chain).order_by("-through").first()


def cut(*, actor: Actor, wanted: CutPlan, reason: str, signer: StatementSigner | None) -> AuditCut:
    """Do what was planned. Raises NoCheckpointKey, ChainBroken (nothing is removed then), OSError, DatabaseError."""
    if signer is None:
        raise NoCheckpointKey
    # A cut that was killed goes to its end first: rows that still stand below it would count as a broken chain.
    finish(wanted.chain)
    walk = ChainVerifier(wanted.chain)
    walk.run()
    if walk.fault:
        raise ChainBroken(wanted.chain, walk.fault.sequence or 0)
    made = _sign(actor, wanted, reason, signer)
    finish(wanted.chain)
    return made


def _sign(actor: Actor, wanted: CutPlan, reason: str, signer: StatementSigner) -> AuditCut:
    last, point = last_cut(wanted.chain), wanted.checkpoint
    statement = Cut(
        chain=wanted.chain,
        number=last.number + 1 if last else 1,
        first=wanted.first,
        through=wanted.through,
        count=wanted.count,
        root=point.root,
        head=point.head,
        at=time.time_ns() // 1000,
        actor=(actor.label or actor.id)[:LONGEST],
        reason=reason[:LONGEST],
        key=key_id(signer.public_key),
    )
    # Before the transaction: a key in Cloud KMS takes a round trip, and no lock waits for it.
    signature = signer.sign(statement.message())
    with transaction.atomic():
        fields = {name: getattr(statement, name) for name in Cut.__dataclass_fields__}
        # With the row that says who and why: neither stands without the other, and triggers let nothing go without the
        # cut.
        row = AuditCut.objects.create(**fields, signature=signature)
        said = {"first": wanted.first, "through": wanted.through, "days": wanted.days, "reason": statement.reason}
        record(AuditEntry(wanted.chain, AuditTag.AUDIT_CUT, AuditOutcome.OK, actor, data=said))
    return row


def finish(chain: str, pause: Callable[[], None] = lambda: time.sleep(0.01)) -> int:
    """Remove what still stands below the chain's last cut, once it stands outside too; how many rows went."""
    last = last_cut(chain)
    if last is None:
        return 0
    # Outside first: once the rows are gone, this statement is all that tells a cut from a theft.
    while not last.is_published:
        publishing.publish()
        last.refresh_from_db()
    rows, gone = AuditRow.objects.filter(chain=chain, sequence__lte=last.through).order_by("sequence"), 0
    while (first := rows.values_list("sequence", flat=True).first()) is not None:
        with transaction.atomic():
            below = AuditRow.objects.filter(chain=chain, sequence__lte=min(first + BATCH - 1, last.through))
            gone += below._raw_delete(below.db)
        # Lets others write: on SQLite each of these transactions keeps everybody out.
        pause()
    return gone
