"""Lets answers out (step 14 of bunker.md): what is durable already, and errors that nobody needs to remember."""

from __future__ import annotations

from bunker.worker.admission import IncomingRequest
from bunker.worker.commit_jobs import ANSWERED
from bunker.worker.envelopes import Envelopes
from bunker.worker.publisher import Publisher
from bunker.worker.records import ConnectionRecord, SignerRecord
from bunker.worker.replies import TOO_LARGE, ReplyEvent, published_size, text_of
from keycast.base import crash
from keycast.nostr.nip01 import parse_event


class Delivery:
    """From a text to the relays of the connection that asked."""

    def __init__(self, publisher: Publisher, envelopes: Envelopes) -> None:
        self._publisher = publisher
        self._envelopes = envelopes

    def fitting(
        self,
        item: IncomingRequest,
        connection: ConnectionRecord,
        request_id: str,
        result: str | None,
        error: str | None,
    ) -> tuple[str, str | None]:
        """The answer's text, or an error in its place when no relay would carry it (T11)."""
        text = text_of(request_id, result, error)
        size = published_size(text)
        if size is None or not self._publisher.fits(size, connection.relays, item.relay):
            return text_of(request_id, None, TOO_LARGE), TOO_LARGE
        return text, error

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

    async def say(self, item: IncomingRequest, request_id: str, error: str) -> None:
        """Publish an error that nobody needs to remember. Raises KeycastError."""
        reply = await self._envelopes.reply(item, text_of(request_id, None, error))
        relays = () if item.connection is None else item.connection.relays
        self._publisher.publish(reply, relays, item.relay, None)
