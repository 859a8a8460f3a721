"""The operator's brake: whether a row of the co-signer's log may be written at all, asked inside its transaction.

Every use of a half has its row on disk before the half is used (keys.cosigner.store). So whatever asked, and by
whichever handler: a signature whose row is refused here is not made. The rules are read again when another process has
committed (``PRAGMA data_version``, sqlite.org/pragma.html), within the same transaction: a stop holds from its own
commit on.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keys.cosigner import brake_rules as rules
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.brake_rules import BrakeDefaults, BrakeRules, CosignerScope, CosignerUse
from keys.cosigner.errors import CosignerRefusalError
from keys.signing.cosigning.messages import RefusalCode

USES: Final = {CosignerAuditTag.SIGNED: CosignerUse.SIGNATURES, CosignerAuditTag.CONTRIBUTED: CosignerUse.OPENINGS}
"""Rows that stand for one use of a half."""
ALWAYS: Final = frozenset(
    {
        CosignerAuditTag.STARTED,
        CosignerAuditTag.STOPPED,
        CosignerAuditTag.REFUSED,
        CosignerAuditTag.READING_ENDED,
        CosignerAuditTag.FORGET_CANCELLED,
        CosignerAuditTag.APP_ENDED,
        CosignerAuditTag.AUTHORISER_REPLACED,
        CosignerAuditTag.OPERATOR_DESTROYED,
        CosignerAuditTag.AUTHORISER_REFUSED,
        CosignerAuditTag.OPERATOR_STOPPED,
        CosignerAuditTag.OPERATOR_RESUMED,
        CosignerAuditTag.OPERATOR_LIMITED,
        CosignerAuditTag.BUDGET_REACHED,
        CosignerAuditTag.UNUSUAL,
    }
)
"""Rows that a stop does not hold back: they take power away, tell, or are the operator's own. Others are held back."""
SPENT_KEPT: Final = 131_072
DAYS_KEPT: Final = 40
UNUSUAL_FROM: Final = 500
"""Uses a day below which nothing is unusual."""
UNUSUAL_TIMES: Final = 10
"""How many times the average of the seven days before."""
_BUDGET_TOLD, _UNUSUAL_TOLD = 1, 2
_DAY: Final = 86_400


@dataclass(slots=True)
class _Spent:
    """Uses of one scope today; ``budget`` of them are allowed (0: any number), from ``unusual`` on they are many."""

    scope: CosignerScope
    use: CosignerUse
    count: int
    told: int
    budget: int
    unusual: int

    @property
    def place(self) -> tuple[bytes, CosignerUse]:
        return self.scope.id_bytes, self.use


class CosignerBrake:
    """Used by the store's thread alone. ``defaults`` are the bounds of the settings; ``clock`` tells Unix seconds."""

    def __init__(self, defaults: BrakeDefaults | None = None, clock: Callable[[], float] = time.time) -> None:
        self._defaults, self._clock = defaults or BrakeDefaults(), clock
        self._rules = BrakeRules(limits=self._defaults.limits())
        self._bounds_kinds, self._version, self._day = False, -1, -1
        self._scopes: dict[str, tuple[CosignerScope, CosignerScope]] = {}
        self._spent: dict[tuple[bytes, CosignerUse], _Spent] = {}
        self._touched: dict[tuple[bytes, CosignerUse], _Spent] = {}
        self._notes: list[CosignerAuditEntry] = []

    def begin(self, connection: sqlite3.Connection) -> bool:
        """A transaction has begun. Whether another process has written since the one before."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        is_changed: bool = version != self._version
        if is_changed:
            self._rules = rules.load(connection, self._defaults)
            self._bounds_kinds, self._version = self._rules.bounds_kinds, version
            self._spent.clear()
        today = int(self._clock()) // _DAY
        if today != self._day:
            self._spent.clear()
            self._day = today
            connection.execute("DELETE FROM cosigner_spent WHERE day < ?", (today - DAYS_KEPT,))
        return is_changed

    def require(self, connection: sqlite3.Connection, notes: Sequence[CosignerAuditEntry]) -> None:
        """Let a piece of work write these rows, and count its uses. Raises Refusal; then none of them is counted.

        Uses under a reading grant come as rows too, which are counted and not written.
        """
        asked: Counter[tuple[bytes, CosignerUse]] = Counter()
        for note in notes:
            if note.tag not in ALWAYS:
                self._require(connection, note, asked)
        for place, times in asked.items():
            spent = self._touched[place] = self._spent[place]
            spent.count += times
            if spent.count >= spent.unusual and not spent.told & _UNUSUAL_TOLD:
                spent.told |= _UNUSUAL_TOLD
                self._note(CosignerAuditTag.UNUSUAL, AuditOutcome.OK, spent, count=spent.count)

    def finish(self, connection: sqlite3.Connection) -> list[CosignerAuditEntry]:
        """Before the commit: the counts go to disk with the rows that they count. Rows of the brake's own to add."""
        if self._touched:
            connection.executemany(
                "INSERT INTO cosigner_spent VALUES (?, ?, ?, ?, ?) ON CONFLICT (scope, use, day) "
                "DO UPDATE SET count = excluded.count, told = excluded.told",
                [(*spent.place, self._day, spent.count, spent.told) for spent in self._touched.values()],
            )
            self._touched.clear()
        if len(self._spent) > SPENT_KEPT:
            self._spent.clear()
        notes, self._notes = self._notes, []
        return notes

    def undone(self) -> None:
        """Nothing of this transaction is on disk: read and count again from there."""
        self._version = self._day = -1
        for kept in (self._spent, self._touched, self._notes):
            kept.clear()

    def _require(
        self, connection: sqlite3.Connection, note: CosignerAuditEntry, asked: Counter[tuple[bytes, CosignerUse]]
    ) -> None:
        use, scopes = USES.get(note.tag), self._scopes_of(connection, note)
        if self._rules.stops and self._rules.stop_of(*scopes) is not None:
            raise CosignerRefusalError(RefusalCode.STOPPED_BY_OPERATOR)
        if note.tag is CosignerAuditTag.APP_ADMITTED and self._rules.chooses(*scopes, rules.APPS, rules.CLOSED):
            raise CosignerRefusalError(RefusalCode.APPS_CLOSED)
        if self._rules.chooses(*scopes, rules.ASKED, rules.REQUIRED):
            _require_asked(note)
        if use is None:
            return
        if self._bounds_kinds and "kind" in note.data and not self._rules.allows(*scopes, note.data["kind"]):
            raise CosignerRefusalError(RefusalCode.KIND_NOT_ALLOWED)
        for scope in scopes:
            spent = self._spent_of(connection, scope, use)
            asked[spent.place] += 1
            if spent.budget and spent.count + asked[spent.place] > spent.budget:
                # Once a day, and kept although the work that asked is undone.
                if not spent.told & _BUDGET_TOLD:
                    spent.told |= _BUDGET_TOLD
                    self._touched[spent.place] = spent
                    self._note(CosignerAuditTag.BUDGET_REACHED, AuditOutcome.DENIED, spent, budget=spent.budget)
                raise CosignerRefusalError(RefusalCode.OVER_BUDGET)

    def _scopes_of(
        self, connection: sqlite3.Connection, note: CosignerAuditEntry
    ) -> tuple[CosignerScope, CosignerScope]:
        """The note's tenant and key."""
        known = self._scopes.get(note.key_id)
        if known is not None:
            return known
        key_id = UUID(hex=note.key_id)
        row = connection.execute("SELECT tenant_id FROM cosigner_key WHERE key_id = ?", (key_id.bytes,)).fetchone()
        if row is None:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        found = rules.tenant_scope(UUID(bytes=row[0])), rules.key_scope(key_id)
        # Only of keys in use: one that is being made may be undone yet, and made again under another tenant.
        if note.tag in USES:
            if len(self._scopes) >= SPENT_KEPT:
                self._scopes.clear()
            self._scopes[note.key_id] = found
        return found

    def _spent_of(self, connection: sqlite3.Connection, scope: CosignerScope, use: CosignerUse) -> _Spent:
        place = scope.id_bytes, use
        found = self._spent.get(place)
        if found is None:
            days = "SELECT day, count, told FROM cosigner_spent WHERE scope = ? AND use = ? AND day > ?"
            rows = {day: (count, told) for day, count, told in connection.execute(days, (*place, self._day - 8))}
            count, told = rows.pop(self._day, (0, 0))
            unusual = max(UNUSUAL_FROM, UNUSUAL_TIMES * sum(before for before, _ in rows.values()) // 7)
            budget = self._rules.budget(scope, use)
            found = self._spent[place] = _Spent(scope, use, count, told, budget, unusual)
        return found

    def _note(self, tag: CosignerAuditTag, outcome: AuditOutcome, spent: _Spent, **data: int) -> None:
        key = spent.scope.id_bytes.hex() if spent.scope.kind == "key" else ""
        named = {"scope": str(spent.scope), "use": spent.use.value, **data}
        self._notes.append(CosignerAuditEntry(tag, outcome, "brake", key, data=named))


def _require_asked(note: CosignerAuditEntry) -> None:
    """Raises Refusal for a use that does not say what app asked, and for grants under which none would have to."""
    if note.tag is CosignerAuditTag.READING_OPENED:
        raise CosignerRefusalError(RefusalCode.READING_REFUSED)
    if note.tag not in USES or "asked" in note.data or note.data.get("without") == rules.TRIAL:
        return
    is_of_reading = note.tag is CosignerAuditTag.CONTRIBUTED and "peer" not in note.data
    raise CosignerRefusalError(RefusalCode.NO_READING if is_of_reading else RefusalCode.NOT_ASKED)
