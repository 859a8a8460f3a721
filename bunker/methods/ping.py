"""``ping``: are you there? (NIP-46)"""

from __future__ import annotations

from collections.abc import Sequence

from bunker.methods.base import Answer, Subject
from keycast.audit.tags import Tag
from keycast.nostr.nip46 import Method


class Ping(Answer):
    """Answers ``pong``; parameters are ignored."""

    __slots__ = ()
    name = Method.PING.value
    tag = Tag.PING

    def __init__(self, params: Sequence[str], subject: Subject) -> None:
        super().__init__("pong")
