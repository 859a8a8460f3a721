"""Signer A's end of the co-signer's list of apps: each is told of before its first request, and again when that is due.

Nothing has to be kept in step: what is told comes with the request, from the grant by which the worker has just let the
request pass. A co-signer that was away, or was restored from a backup, hears of an app with its next request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from keys.refs import KeyRef
from keys.signing.cosigning.client import CosignerClient
from keys.signing.cosigning.messages import AppAdmission, AskedUse

TOLD_FOR: Final = 3600.0
"""Seconds. The co-signer writes only what is new to it, and after 15 days that it was told again."""
_KEPT: Final = 65_536
_Place = tuple[bytes, bytes, bytes]


class AppIntroductions:
    """What this process has told. ``clock`` gives seconds."""

    def __init__(self, cosigner: CosignerClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._cosigner, self._clock = cosigner, clock
        self._told: dict[_Place, tuple[AppAdmission, float]] = {}

    async def tell(self, key: KeyRef, asked: AskedUse) -> None:
        """Have the co-signer know what this app may ask for. Raises CosignerUnavailable, AppsClosedByCosigner."""
        place, now = _place(key, asked), self._clock()
        known = self._told.get(place)
        if known is not None and known[0] == asked.admission and now - known[1] < TOLD_FOR:
            return
        await self._cosigner.admit_app(key.tenant_id, key.key_id, asked.admission)
        if len(self._told) >= _KEPT:
            self._told.pop(next(iter(self._told)))
        self._told[place] = asked.admission, now

    def forget(self, key: KeyRef, asked: AskedUse) -> None:
        """Tell it again: the co-signer has said that it does not know the app."""
        self._told.pop(_place(key, asked), None)


def _place(key: KeyRef, asked: AskedUse) -> _Place:
    return key.key_id.bytes, asked.admission.client, asked.admission.signer
