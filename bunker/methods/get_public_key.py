"""``get_public_key``: whose key do you sign with? (NIP-46)"""

from __future__ import annotations

from collections.abc import Sequence

from bunker.methods.base import InfoMethod, RequestContext
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method


class GetPublicKey(InfoMethod):
    """Answers the user's public key, which is not the remote signer's: only a connected app learns it."""

    __slots__ = ()
    name = Nip46Method.GET_PUBLIC_KEY.value
    tag = AuditTag.GET_PUBLIC_KEY
    is_audited = True

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        super().__init__(subject.key.public_key)
