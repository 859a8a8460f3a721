"""``ping``: are you there? (NIP-46)"""

from __future__ import annotations

from collections.abc import Sequence

from bunker.methods.base import InfoMethod, RequestContext
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method


class Ping(InfoMethod):
    """Answers ``pong``; parameters are ignored."""

    __slots__ = ()
    name = Nip46Method.PING.value
    tag = AuditTag.PING

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        super().__init__("pong")
