"""Replies: kind 24133 events from the remote signer to the client, signed with the transport key (NIP-46)."""

from __future__ import annotations

from hashlib import sha256

from keycast.nostr.nip01 import Event
from keycast.nostr.nip44 import MAX_PLAINTEXT, payload_length
from keycast.nostr.nip46 import KIND, Nip46Response
from keys.signing.protocol import OpenTransport

TOO_LARGE = "The result is too large for the relays of this connection."
_ENVELOPE = 640
"""Bytes of a reply event around its content, rounded up."""


class ReplyEvent:
    """A finished reply: the event, and its JSON as it is stored and published."""

    __slots__ = ("event", "raw")

    def __init__(self, event: Event, raw: bytes) -> None:
        self.event = event
        self.raw = raw


def text_of(request_id: str, result: str | None, error: str | None) -> str:
    """The JSON-RPC text of an answer: a result that is never empty, or an error."""
    response = (
        Nip46Response.failed(request_id, error) if error is not None else Nip46Response.ok(request_id, result or "")
    )
    return response.to_text()


def published_size(text: str) -> int | None:
    """How many bytes the reply event of ``text`` will have; None when it cannot be encrypted at all."""
    size = len(text) if text.isascii() else len(text.encode())
    return None if size > MAX_PLAINTEXT else payload_length(size) + _ENVELOPE


def compose(transport: OpenTransport, client: str, text: str, request_event_id: str, now: int) -> ReplyEvent:
    """Encrypt ``text`` for ``client`` and sign the event; its ``e`` tag names the request that it answers."""
    content = transport.encrypt(client, text)
    signer = transport.public_key
    # Base64 and hex need no JSON escaping, so id preimage and event are put together by hand (NIP-01 form).
    tags = f'[["p","{client}"],["e","{request_event_id}"]]'
    digest = sha256(f'[0,"{signer}",{now},{KIND},{tags},"{content}"]'.encode()).digest()
    event_id, signature = digest.hex(), transport.sign(digest).hex()
    raw = (
        f'{{"id":"{event_id}","pubkey":"{signer}","created_at":{now},"kind":{KIND},"tags":{tags},'
        f'"content":"{content}","sig":"{signature}"}}'
    ).encode()
    event = Event(event_id, signer, now, KIND, [["p", client], ["e", request_event_id]], content, signature)
    return ReplyEvent(event, raw)
