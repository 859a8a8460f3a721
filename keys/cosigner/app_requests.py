"""Whether an app has asked for this use: the co-signer opens the app's own NIP-46 request and looks.

Signer A hands over the event that the app signed (kind 24133) and the conversation key of the app and its remote
signer. The content is an app's word if the app's signature holds over it and its MAC under the keys that follow from
that conversation key (NIP-44): to find another conversation key under which it opens is to forge an HMAC-SHA-256.
What it says has to be what is asked for here, lately, and of an app that was admitted for it (keys.cosigner.apps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from keycast.audit.tags import AuditOutcome
from keycast.crypto import schnorr
from keycast.crypto.errors import CryptoError
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip44, nip46
from keycast.nostr.nip01 import EventError, UnsignedEvent, id_bytes, parse_template
from keycast.nostr.nip46 import Nip46Method, Nip46Request, RequestError
from keys.cosigner.audit import CosignerAuditTag
from keys.cosigner.brake_rules import TRIAL, WITHOUT_APP
from keys.cosigner.errors import CosignerRefusalError
from keys.cosigner.store import CosignerStore, StoreTransaction
from keys.signing.cosigning.messages import AppRequest, EventBody, RefusalCode
from keys.signing.cosigning.trial_event import trial_event
from keys.signing.transport import MAX_REQUEST

FRESH_FOR: Final = 600
"""Seconds from a request's own time, either way. The bunker takes requests of 300 s, and may finish them later."""
ATTEMPTS: Final = 8
"""How often one request may be used, always for the same: replies are lost, and signers restarted."""
MAX_USED: Final = 500_000
"""Requests that are remembered, of some 20 minutes, some 100 MB: beyond it the co-signer is busy."""


@dataclass(frozen=True, slots=True)
class OpenedAppRequest:
    """A request as its app has signed it. ``signer`` is the remote signer that it was sent to."""

    id: bytes
    client: bytes
    signer: bytes
    created_at: int
    request: Nip46Request

    @classmethod
    def of(cls, asked: AppRequest) -> OpenedAppRequest:
        """Verified and opened. Raises Refusal for what the app did not sign, or what does not open."""
        identifier = _id_of(asked)
        if not schnorr.verify(asked.client, identifier, asked.signature):
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST)
        # One recipient, as the bunker demands: else a request to one signer would be one to another.
        to = [tag[1] for tag in asked.tags if len(tag) > 1 and tag[0] == "p"]
        try:
            (signer,) = map(bytes.fromhex, to)
            with SecretBytes(asked.conversation_key) as key:
                request = nip46.parse_request(nip44.decrypt(asked.content, key, MAX_REQUEST))
        except (ValueError, CryptoError, nip44.Nip44Error, RequestError):
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST) from None
        return cls(identifier, asked.client, signer, asked.created_at, request)

    def require_event(self, event: EventBody) -> None:
        """Raises Refusal unless this very event was asked for."""
        if self.request.method != Nip46Method.SIGN_EVENT or not self.request.params:
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST)
        try:
            wanted = parse_template(self.request.params[0])
        except EventError:
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST) from None
        asked = wanted.pubkey or event.pubkey, wanted.created_at, wanted.kind, wanted.tags, wanted.content
        if asked != (event.pubkey, event.created_at, event.kind, event.tags, event.content):
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST)

    def require_peer(self, peer: bytes) -> None:
        """Raises Refusal unless something to or from this peer was to be encrypted or decrypted."""
        params = self.request.params
        if self.request.method not in nip46.CRYPT_METHODS or not params or params[0] != peer.hex():
            raise CosignerRefusalError(RefusalCode.WRONG_REQUEST)


class UsedAppRequests:
    """Which requests were used, and for what. In memory; after a restart read from the log, which has each use."""

    def __init__(self, store: CosignerStore) -> None:
        self._store, self._is_read = store, False
        self._by_time: dict[int, dict[bytes, int]] = {}

    async def read(self, now: int) -> None:
        """Have those of before this process. ``now`` in seconds of Unix time."""
        if self._is_read:
            return
        found = await self._store.write(lambda writing: _used_since(writing, now - 2 * FRESH_FOR))
        if not self._is_read:  # by another one, meanwhile
            self._is_read = True
            for identifier, created_at in found:
                self._count(identifier, created_at)

    def take(self, asked: OpenedAppRequest, now: int) -> None:
        """Count a use. Raises Refusal for a request that is not fresh, or was used as often as it may be."""
        if abs(now - asked.created_at) > FRESH_FOR:
            raise CosignerRefusalError(RefusalCode.STALE_REQUEST)
        past = now - FRESH_FOR
        for time in [time for time in self._by_time if (time + 1) * FRESH_FOR < past]:
            del self._by_time[time]
        if sum(map(len, self._by_time.values())) >= MAX_USED:
            raise CosignerRefusalError(RefusalCode.BUSY)
        if self._count(asked.id, asked.created_at) > ATTEMPTS:
            raise CosignerRefusalError(RefusalCode.REPLAYED)

    def _count(self, identifier: bytes, created_at: int) -> int:
        of_time = self._by_time.setdefault(created_at // FRESH_FOR, {})
        of_time[identifier] = times = of_time.get(identifier, 0) + 1
        return times


def without_app(event: EventBody | None) -> str:
    """What the log calls a use that no app asked for. It is found out here; signer A is not asked."""
    if event is None:
        return WITHOUT_APP
    tried = UnsignedEvent(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    return TRIAL if tried == trial_event(event.pubkey) else WITHOUT_APP


def _id_of(asked: AppRequest) -> bytes:
    try:
        return id_bytes(asked.client.hex(), asked.created_at, nip46.KIND, asked.tags, asked.content)
    except EventError:
        raise CosignerRefusalError(RefusalCode.WRONG_REQUEST) from None


def _used_since(writing: StoreTransaction, since: int) -> list[tuple[bytes, int]]:
    """Ids and times of requests in rows of uses, newest first, until rows are older."""
    found = []
    rows = writing.execute("SELECT at, tag, outcome, data FROM audit_auditrow ORDER BY chain DESC, sequence DESC")
    for at, tag, outcome, data in rows:
        if at < since * 1_000_000:
            break
        if tag in {CosignerAuditTag.SIGNED, CosignerAuditTag.CONTRIBUTED} and outcome == AuditOutcome.OK:
            noted = msgspec.json.decode(data)
            if "asked" in noted:
                found.append((bytes.fromhex(noted["asked"]), noted["asked_at"]))
    return found
