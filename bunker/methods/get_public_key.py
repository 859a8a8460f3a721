"""``get_public_key``: whose key do you sign with? (NIP-46)"""

from __future__ import annotations

from collections.abc import Sequence

from bunker.methods.base import Answer, Subject
from keycast.audit.tags import Tag
from keycast.nostr.nip46 import Method


class GetPublicKey(Answer):
    """Answers the user's public key, which is not the remote signer's: only a connected app learns it."""

    __slots__ = ()
    name = Method.GET_PUBLIC_KEY.value
    tag = Tag.GET_PUBLIC_KEY
    is_audited = True

    def __init__(self, params: Sequence[str], subject: Subject) -> None:
        super().__init__(subject.key.public_key)
