"""What the engine asks of the group-commit writer, and what it hears back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from bunker.models import RequestState
from bunker.relays.limits import IntakeLimits
from bunker.worker.sql import FinishRow, RequestRow
from keycast.audit.entries import AuditEntry

CLAIMED: Final[str] = RequestState.CLAIMED.value
ANSWERED: Final[str] = RequestState.ANSWERED.value
PUBLISHED: Final[str] = RequestState.PUBLISHED.value
ABANDONED: Final[str] = RequestState.ABANDONED.value
"""States as a database driver takes them: plain strings."""

RESEND_MS: Final = 2 * IntakeLimits().freshness * 1000
"""For how long a client may send a request again, in whatever event: one dated as far ahead as is let in stays fresh
for twice that long. A request id that is older may mean another request."""


class AlreadyClaimed:
    """The claim failed because the request is known already: the row that stands for it."""

    __slots__ = ("body_hash", "event_id", "reply", "state")

    def __init__(self, event_id: str, state: str, reply: str, body_hash: bytes) -> None:
        self.event_id = event_id
        self.state = state
        self.reply = reply
        self.body_hash = body_hash


class Fenced:
    """The shard has, or had meanwhile, another owner: nothing was stored and nothing may be said."""

    __slots__ = ()


class Stored:
    """Claimed, or finished: it is durable, go on."""

    __slots__ = ()


STORED = Stored()
FENCED = Fenced()
Outcome = Stored | AlreadyClaimed | Fenced


class ClaimWrite:
    """Insert one request row, with the audit rows that belong to it if, and only if, it was not known.

    ``uses`` is the connection (hex) whose exact use count grows by one in the
    same transaction, or None.
    """

    __slots__ = ("entries", "fence", "future", "row", "shard", "uses")

    def __init__(self, row: RequestRow, entries: Sequence[AuditEntry], uses: str | None) -> None:
        self.row = row
        self.entries = entries
        self.uses = uses
        self.shard = row.shard
        self.fence = row.fence
        self.future: asyncio.Future[Outcome] | None = None


class ReplyWrite:
    """Store the reply of a claimed request together with its audit result."""

    __slots__ = ("entries", "fence", "future", "row", "shard")

    def __init__(self, row: FinishRow, shard: int, entries: Sequence[AuditEntry]) -> None:
        self.row = row
        self.shard = shard
        self.fence = row.fence
        self.entries = entries
        self.future: asyncio.Future[Outcome] | None = None


class AuditWrite:
    """Audit rows alone, for what claims nothing."""

    __slots__ = ("entries", "fence", "future", "shard")

    def __init__(self, entries: Sequence[AuditEntry], shard: int, fence: int) -> None:
        self.entries = entries
        self.shard = shard
        self.fence = fence
        self.future: asyncio.Future[Outcome] | None = None


Job = ClaimWrite | ReplyWrite | AuditWrite
