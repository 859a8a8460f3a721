"""Replies: kind 24133 events from the remote signer to the client, signed with the transport key (NIP-46)."""

from __future__ import annotations

from hashlib import sha256

from keycast.nostr.nip01 import Event
from keycast.nostr.nip44 import MAX_PLAINTEXT, payload_length
from keycast.nostr.nip46 import KIND, Nip46Response
from keys.signing.protocol import OpenTransport

_ENVELOPE = 640
"""Bytes of a reply event around its content, rounded up."""
_TEXT = 128
"""Bytes of an answer around its result, without its request id."""


def too_large(size: int, most: int, *, is_ours: bool) -> str:
    """What a client is told of a result of ``size`` bytes where ``most`` can be delivered."""
    if is_ours:
        return f"The result is too large: {size} bytes, and at most {most} can be delivered."
    return (
        f"The result is too large for the relay that this app uses: {size} bytes, and about {most} fit. "
        "Over the relay of this server more can be delivered."
    )


class ReplyEvent:
    """A finished reply: the event, and its JSON as it is stored and published."""

    __slots__ = ("event", "raw")

    def __init__(self, event: Event, raw: bytes) -> None:
        self.event = event
        self.raw = raw


def text_of(request_id: str, result: str | None, error: str | None, method: str = "") -> str:
    """The JSON-RPC text of an answer to ``method``: a result that is never empty, or an error."""
    if error is not None:
        return Nip46Response.failed(request_id, error, method).to_text()
    return Nip46Response.ok(request_id, result or "").to_text()


def size_of(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def answer_size(request_id: str, result_size: int) -> int:
    """Bytes of the text of an answer whose result has ``result_size`` bytes."""
    return result_size + len(request_id) + _TEXT


def published_size(size: int) -> int | None:
    """Bytes of the reply event of a text of ``size`` bytes; None when it cannot be encrypted at all."""
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
