"""What a kind of rotation is. One subclass of RotationKind each; ``registry.register`` makes it known.

The framework keeps the state machine, the lease, the counting and the report. A kind says what there is to do and
does one item at a time. **Every kind converges**: ``items`` gives only what still needs to be done, and an item that
was done is not among them any more. The framework goes over the scope until one pass changes nothing; so a kill
between an item and its counting costs nothing, and what was made meanwhile under the old state is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keys.rotation.scope import RotationScope

#: Stores what was prepared, in one short transaction of the framework's; False when the row had changed meanwhile and
#: was left alone (a later pass looks at it again). Raises KeycastError.
Change = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class RotationItem:
    """One thing to rotate. ``id`` orders items within a pass (text, at most 64 characters; usually a UUID's hex).

    ``key_id`` names it in the report; ``row`` is whatever the kind needs to do it, read when the item was found.
    """

    id: str
    key_id: UUID
    row: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Not to be ended yet: look again in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RotationJob:
    """A rotation as its kind sees it. ``actor`` is who started it; audit rows of the kind's own name them.

    ``keep(**options)`` stores more options, at once and for every later runner. Raises RotationLeaseLost.
    """

    id: UUID
    scope: RotationScope
    options: Mapping[str, Any]
    actor: Actor
    created_at: datetime
    keep: Callable[..., RotationJob]


class RotationKind:
    """A kind of rotation. Class attributes and the methods below are all there is to give."""

    slug: str
    """Its name in the database, for instance ``kek``; it never changes."""
    group: str
    """Kinds that touch the same columns share a group; two of one group never run on overlapping scopes."""
    title: str
    """What it does, in plain words: "Renew the halves of split keys"."""
    command: str
    """The management command that starts it."""
    scopes: frozenset[str] = frozenset({"all", "tenant", "key"})
    concurrency: int = 1
    """How many items are prepared at once, in threads that must not use the database."""
    batch: int = 16
    """Items that share a transaction; 1 where ``rotate`` is slow by itself."""

    def authorise(self, actor: Actor, scope: RotationScope) -> None:
        """Raise NotPermitted unless ``actor`` may start, resume or cancel it. Default: the platform alone."""
        from keys.access import require_platform  # noqa: PLC0415 -- access imports accounts.permissions

        require_platform(actor)

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options to keep (JSON values), before anything is stored. Raises KeycastError to refuse.

        A dry run calls this too: it must change nothing.
        """
        return options

    def prepare(self, job: RotationJob) -> None:
        """Once before the first item, outside any transaction. Killed anywhere and run again, it must end the same."""

    def count(self, job: RotationJob) -> int:
        """How many items still need it; the estimate of a dry run, too."""
        raise NotImplementedError

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        """At most ``limit`` items that still need it, by id, beginning after the id ``after``."""
        raise NotImplementedError

    def rotate(self, job: RotationJob, item: RotationItem) -> Change | None:
        """Do one item, or prepare it and return what stores it. Outside any transaction. Raises KeycastError.

        None: it is done, by a service with transactions of its own that may be repeated at any step. Anything that
        may not happen twice belongs into the Change, which runs only while this process holds the rotation.
        ``keycast.base.errors.Unavailable`` means that it is worth trying again soon; anything else that it is not.
        """
        raise NotImplementedError

    def failed(self, job: RotationJob, item: RotationItem, error: KeycastError) -> None:
        """Told of each item that failed, in the transaction that counts it; what it writes is kept."""

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        """After a pass that changed nothing: more for the report, or how long to wait before another pass."""
        return {}
