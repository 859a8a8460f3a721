"""What crosses the wire sealed: requests opened and replies composed with a signer's transport key (NIP-46, NIP-44)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bunker.worker.admission import IncomingRequest
from bunker.worker.records import ConnectionRecord
from bunker.worker.replies import ReplyEvent, compose
from bunker.worker.stats import WorkerStats
from keycast.base.errors import KeycastError
from keycast.nostr.nip01 import Event
from keycast.nostr.nip46 import Nip46Method, Nip46Request, RequestError, parse_request
from keys.errors import InvalidOperand, OpenKeyExpired
from keys.signing.cosigning.messages import AppAdmission, AppRequest, AskedUse
from keys.signing.protocol import OpenTransport, TransportOpener

T = TypeVar("T")

UNDECRYPTABLE = "invalid: the content does not decrypt with NIP-44 between its author and its recipient"
NIP04_MARK = "?iv="
# The first message of older client libraries is NIP-04; its answer tells them to go on with NIP-44 (NDK before 3.0).
NIP04_REFUSED = "invalid: encrypted with NIP-04, and only NIP-44 version 2 is understood after connect"
UNANSWERABLE = "invalid: not a NIP-46 request, which has an id, a method and params"


class Envelopes:
    """Opens and closes them. ``forget`` lets an event in again that could not be opened for want of the key.

    ``refuse`` tells the sender of an event (by its id) why nobody can answer it.
    """

    def __init__(
        self,
        *,
        transports: TransportOpener,
        stats: WorkerStats,
        forget: Callable[[str], None],
        refuse: Callable[[str, str], None],
    ) -> None:
        self.refuse = refuse
        self.transports = transports
        self._stats = stats
        self._forget = forget

    async def open(self, item: IncomingRequest) -> Nip46Request | RequestError | None:
        """The request inside an event: None (counted) when it cannot be read at all."""
        event = item.event
        is_nip04 = NIP04_MARK in event.content[-64:]  # as no payload of NIP-44 ends
        try:
            text = await self._with_transport(item, lambda transport: _decrypted(transport, event, is_nip04=is_nip04))
        except InvalidOperand:
            self._stats.drops["undecryptable"] += 1
            self.refuse(event.id, NIP04_REFUSED if is_nip04 else UNDECRYPTABLE)
            return None
        except KeycastError as failure:
            self._stats.errors[failure.code] += 1
            self._forget(event.id)
            return None
        try:
            request = parse_request(text)
        except RequestError as error:
            return error
        if is_nip04 and request.method != Nip46Method.CONNECT:
            self._stats.drops["nip-04"] += 1
            self.refuse(event.id, NIP04_REFUSED)
            return None
        item.method = request.method
        return request

    async def asked(self, item: IncomingRequest, connection: ConnectionRecord) -> AskedUse:
        """A request as the co-signer is to see it, with what its app is let in for. Raises KeycastError.

        The caller wipes the conversation key.
        """
        event, signer = item.event, bytes.fromhex(item.signer.public_key)
        key = await self._with_transport(item, lambda transport: transport.conversation_with(event.pubkey))
        client, signature = bytes.fromhex(event.pubkey), bytes.fromhex(event.sig)
        request = AppRequest(client, event.created_at, event.tags, event.content, signature, key)
        methods, kinds = connection.policy.grants if connection.policy is not None else ((), ())
        expires_at = 0 if connection.expires_at is None else int(1000 * connection.expires_at)
        return AskedUse(request, AppAdmission(client, signer, list(methods), list(kinds), expires_at))

    async def reply(self, item: IncomingRequest, text: str) -> ReplyEvent:
        """``text`` for the client of ``item``, encrypted and signed. Raises KeycastError."""
        event = item.event
        # Not before the request: a client whose clock is ahead may ask relays for what is later than its own now.
        now = max(int(time.time()), event.created_at)
        return await self._with_transport(item, lambda transport: compose(transport, event.pubkey, text, event.id, now))

    async def _with_transport(self, item: IncomingRequest, use: Callable[[OpenTransport], T]) -> T:
        """Use the open transport key; once more when its lease ended at that very moment."""
        try:
            return use(await self.transports.open(item.signer.transport))
        except OpenKeyExpired:
            return use(await self.transports.open(item.signer.transport))


def _decrypted(transport: OpenTransport, event: Event, *, is_nip04: bool) -> str:
    decrypt = transport.decrypt_nip04 if is_nip04 else transport.decrypt
    return decrypt(event.pubkey, event.content)
