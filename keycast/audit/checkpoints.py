"""Checkpoints: signed statements about what each chain was, in the database and outside of it (threats A2).

A job makes them (keycast.operations.jobs). A late checkpoint stops nothing: every row is committed and chained before
anything is signed, so nothing goes unrecorded meanwhile; only the moment is later from which on a change of it must
show.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from keycast.audit.chain import genesis, row_hash
from keycast.audit.errors import ChainBroken
from keycast.audit.merkle import Frontier, PartialTree
from keycast.audit.models import AuditChain, AuditCheckpoint
from keycast.audit.reading import rows_between
from keycast.audit.signing import StatementSigner, current
from keycast.audit.statements import NO_PREVIOUS, Checkpoint, key_id

_BIGGEST = 100_000
"""Rows of one checkpoint at most, so that whoever proves a row of it needs to read no more than these."""


# Below the 300 seconds after which the job cluster ends a job.
def make_due(*, seconds: float = 240.0) -> tuple[int, list[ChainBroken]]:
    """Make every checkpoint that is due, for at most ``seconds``; how many were made, and chains that are broken.

    Without a signer none is due. Raises KeycastError when the signer cannot sign.
    """
    signer, made, broken = current(), 0, []
    if signer is None:
        return 0, []
    deadline = time.monotonic() + seconds
    for name in list(due().values_list("name", flat=True)):
        try:
            # Asked each time: another process may have made it meanwhile.
            while time.monotonic() < deadline and is_due(name):
                made += make(name, signer) is not None
        # One broken chain holds up no other; nothing is signed over it.
        except ChainBroken as fault:
            broken.append(fault)
    return made, broken


def due(now: float | None = None) -> QuerySet[AuditChain]:
    """Heads of the chains that should have a checkpoint by now: ``size`` and ``at`` (µs) are those of the last one."""
    last = AuditCheckpoint.objects.filter(chain=OuterRef("name")).order_by("-number")
    heads = AuditChain.objects.annotate(
        size=Coalesce(Subquery(last.values("size")[:1]), 0, output_field=BigIntegerField()),
        at=Coalesce(Subquery(last.values("at")[:1]), 0, output_field=BigIntegerField()),
    )
    oldest = int(((now or time.time()) - settings.AUDIT_CHECKPOINT_SECONDS) * 1_000_000)
    waiting = heads.filter(sequence__gt=F("size"))
    return (
        waiting.filter(at__lte=oldest) | waiting.filter(sequence__gte=F("size") + settings.AUDIT_CHECKPOINT_ROWS)
    ).order_by("name")


def is_due(name: str) -> bool:
    return due().filter(name=name).exists()


def last_of(chain: str) -> AuditCheckpoint | None:
    """The newest checkpoint of a chain."""
    return AuditCheckpoint.objects.filter(chain=chain).order_by("-number").first()


def make(chain: str, signer: StatementSigner) -> AuditCheckpoint | None:
    """One more checkpoint of the chain, over at most as many rows as one may have; None when there is no new row.

    No lock is held while it is signed: of two who make the same one, the database takes one. The rows are checked
    on the way: raises ChainBroken rather than signing what was changed.
    """
    last = last_of(chain)
    head = AuditChain.objects.filter(name=chain).values_list("sequence", flat=True).first() or 0
    start = last.size if last else 0
    limit = max(1, min(settings.AUDIT_CHECKPOINT_ROWS, _BIGGEST))
    hashes = list(_checked(chain, start, min(head, start + limit), last.head if last else genesis(chain).hex()))
    if not hashes:
        return None
    tree = PartialTree(Frontier.from_bytes(last.size, bytes(last.frontier)) if last else Frontier(), hashes)
    # One of its own: the tree above still needs it as it was at the last checkpoint, for the proof of consistency.
    frontier = Frontier.from_bytes(last.size, bytes(last.frontier)) if last else Frontier()
    for each in hashes:
        frontier.add(each)
    statement = Checkpoint(
        chain=chain,
        number=last.number + 1 if last else 1,
        size=frontier.size,
        root=frontier.root().hex(),
        head=hashes[-1].hex(),
        # Links the statements, so that one that was taken away shows although every row is there.
        previous=last.statement.digest() if last else NO_PREVIOUS,
        at=time.time_ns() // 1000,
        key=key_id(signer.public_key),
    )
    return _store(statement, signer.sign(statement.message()), frontier, b"".join(tree.consistency()))


def make_all(chain: str, signer: StatementSigner | None) -> None:
    """Bring the chain's checkpoints up to its head, if there is a signer."""
    while signer is not None and make(chain, signer) is not None:
        pass


def _store(statement: Checkpoint, signature: bytes, frontier: Frontier, consistency: bytes) -> AuditCheckpoint | None:
    row = AuditCheckpoint(
        **{name: getattr(statement, name) for name in Checkpoint.__dataclass_fields__},
        signature=signature,
        frontier=frontier.packed,
        consistency=consistency,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:  # somebody else made it meanwhile
        return None
    return row


def _checked(chain: str, start: int, through: int, head: str) -> Iterator[bytes]:
    """The hashes of the rows after ``start``, each of them checked. Raises ChainBroken."""
    previous = bytes.fromhex(head)
    sequence = start
    for row in rows_between(chain, start + 1, through):
        sequence += 1
        *body, stored_previous, stored = row
        found = row_hash(previous, tuple(body))
        if body[1] != sequence or bytes(stored_previous) != previous or bytes(stored) != found:
            raise ChainBroken(chain, sequence)
        previous = found
        yield found
    if sequence != through:
        raise ChainBroken(chain, sequence + 1)
