"""``switch_relays``: which relays should I use from now on? (NIP-46)"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bunker.methods.base import InfoMethod, RequestContext
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method


class SwitchRelays(InfoMethod):
    """Answers a JSON array of relay URLs, or the string ``null`` when nothing changes.

    Never JSON null: clients take only a non-empty result and would wait for ever.
    """

    __slots__ = ()
    name = Nip46Method.SWITCH_RELAYS.value
    tag = AuditTag.SWITCH_RELAYS

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        offered = subject.offered_relays() if subject.offered_relays is not None else None
        changes = offered and list(offered) != list(subject.relays)
        super().__init__(msgspec.json.encode(list(offered)).decode() if offered and changes else "null")
