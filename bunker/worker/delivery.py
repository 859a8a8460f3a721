"""Lets answers out (step 14 of bunker.md): what is durable already, and errors that nobody needs to remember."""

from __future__ import annotations

from bunker.relays.limits import OutboundLimits
from bunker.worker.admission import IncomingRequest
from bunker.worker.commit_jobs import ANSWERED
from bunker.worker.envelopes import Envelopes
from bunker.worker.publisher import Publisher
from bunker.worker.records import ConnectionRecord, SignerRecord
from bunker.worker.replies import ReplyEvent, published_size, text_of, too_large
from keycast.base import crash
from keycast.nostr.nip01 import parse_event
from keycast.nostr.nip44 import MAX_PLAINTEXT


class Delivery:
    """From a text to the relays of the connection that asked."""

    def __init__(self, publisher: Publisher, envelopes: Envelopes) -> None:
        self._publisher = publisher
        self._envelopes = envelopes

    def refusal_of_size(self, item: IncomingRequest, connection: ConnectionRecord, size: int) -> str | None:
        """Why a text of ``size`` bytes cannot go back the way its request came, or None (T11)."""
        published = published_size(size)
        if published is None:
            return too_large(size, MAX_PLAINTEXT, is_ours=True)
        if not self._publisher.fits(published, connection.relays, item.relay):
            return too_large(size, OutboundLimits().event_bytes * 5 // 8, is_ours=False)
        return None

    def state_of(self, item: IncomingRequest) -> str:
        """The state with which the reply to ``item`` is stored."""
        return self._publisher.state_for(() if item.connection is None else item.connection.relays, item.relay)

    def let_out(self, item: IncomingRequest, connection: ConnectionRecord | None, reply: ReplyEvent) -> None:
        """Publish a reply that is durable."""
        crash.point("before-publish")
        relays = () if connection is None else connection.relays
        waits = self.state_of(item) == ANSWERED
        self._publisher.publish(reply, relays, item.relay, item.event.id if waits else None)
        crash.point("after-publish")

    def republish(
        self, reply: str, signer: SignerRecord, connection: ConnectionRecord | None, came_from: str, request: str | None
    ) -> None:
        """Send a stored reply again."""
        raw = reply.encode()
        self._publisher.publish(
            ReplyEvent(parse_event(raw), raw), () if connection is None else connection.relays, came_from, request
        )

    async def answer(self, item: IncomingRequest, request_id: str, result: str) -> None:
        """Publish a result that nobody needs to remember: asked again, it is the same. Raises KeycastError."""
        await self._publish(item, text_of(request_id, result, None))

    async def say(self, item: IncomingRequest, request_id: str, error: str) -> None:
        """Publish an error that nobody needs to remember. Raises KeycastError."""
        await self._publish(item, text_of(request_id, None, error, item.method))

    async def _publish(self, item: IncomingRequest, text: str) -> None:
        reply = await self._envelopes.reply(item, text)
        relays = () if item.connection is None else item.connection.relays
        self._publisher.publish(reply, relays, item.relay, None)
