"""Which refusals become rows of the co-signer's log, and which are only counted: each row is a wait for the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from keycast.audit.tags import AuditOutcome
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.signing.cosigning.messages import CosignerRequest, RefusalCode

_NEVER: Final = frozenset({RefusalCode.RATE_LIMITED, RefusalCode.BUSY, RefusalCode.UNAVAILABLE})
"""These say nothing of the request, and come in floods when something is wrong."""
_ONCE: Final = frozenset({RefusalCode.STOPPED_BY_OPERATOR, RefusalCode.KIND_NOT_ALLOWED})
"""An honest signer A goes on asking until its apps give up: one row a minute, with the number of those between."""
PERIOD: Final = 60.0
KEPT: Final = 8192


class RefusalLog:
    """Used from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[bytes, RefusalCode, str], tuple[float, int]] = {}

    def row(self, request: CosignerRequest, peer: str, code: RefusalCode) -> CosignerAuditEntry | None:
        """The row to write, or None. What is over the budget has its row already, once a day (keys.cosigner.brake)."""
        if code in _NEVER or code is RefusalCode.OVER_BUDGET:
            return None
        asked = str(type(request).__struct_config__.tag)
        data: dict[str, str | int] = {"reason": code.value, "request": asked}
        if code in _ONCE:
            place, now = (request.key, code, asked), self._clock()
            since, more = self._told.get(place, (-PERIOD, 0))
            if now - since < PERIOD:
                self._told[place] = since, more + 1
                return None
            if len(self._told) >= KEPT:
                self._told.clear()
            self._told[place] = now, 0
            data |= {"more": more} if more else {}
        return CosignerAuditEntry(CosignerAuditTag.REFUSED, AuditOutcome.DENIED, peer, request.key.hex(), data=data)
