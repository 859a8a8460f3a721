"""Events: strict parsing, ids, verification (NIP-01), and the tags that every reader needs (NIP-40)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keycast.crypto.schnorr import verify
from keycast.nostr.errors import NostrError
from keycast.nostr.strict import RedactedStruct, is_unambiguous
from keycast.nostr.types import MAX_KIND, MAX_TIMESTAMP, is_hex

MAX_EVENT_BYTES: Final = 512 * 1024
"""Longest JSON text of an event that is looked at, in bytes."""
MAX_TAGS: Final = 2_000
MAX_TAG_ITEMS: Final = 1_000

Timestamp = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP)]
KindNumber = Annotated[int, Meta(ge=0, le=MAX_KIND)]
Tags = Annotated[list[Annotated[list[str], Meta(min_length=1, max_length=MAX_TAG_ITEMS)]], Meta(max_length=MAX_TAGS)]


class EventError(NostrError):
    """A text that is not an event. ``code`` is one of ``too-large``, ``malformed``, ``duplicate-key``, ``not-hex``."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(f"invalid event: {code}")


class Event(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A signed event as NIP-01 defines it; parsed does not mean verified (see ``verify_event``)."""

    id: str
    pubkey: str
    created_at: Timestamp
    kind: KindNumber
    tags: Tags
    content: str
    sig: str


class UnsignedEvent(RedactedStruct, frozen=True, gc=False):
    """An event before its signature: what is signed, and by whom."""

    pubkey: str
    created_at: int
    kind: int
    tags: list[list[str]]
    content: str

    def signed(self, event_id: str, signature: bytes) -> Event:
        """The event with its id and its 64-byte signature."""
        return Event(event_id, self.pubkey, self.created_at, self.kind, self.tags, self.content, signature.hex())


class EventTemplate(RedactedStruct, frozen=True, gc=False, omit_defaults=True):
    """What a client asks to have signed (NIP-46, ``sign_event``).

    ``pubkey`` is what the client named, or None; it must equal the signing key. An id or signature that came along
    was dropped.
    """

    kind: int
    content: str
    tags: list[list[str]]
    created_at: int
    pubkey: str | None = None

    def by(self, public_key: str) -> UnsignedEvent:
        """The event that ``public_key`` (hex) would sign for this template."""
        return UnsignedEvent(public_key, self.created_at, self.kind, self.tags, self.content)


class _WireTemplate(RedactedStruct, frozen=True, gc=False):
    """A template as it arrives. Unknown members are ignored; id and sig are named only for the fast path."""

    kind: KindNumber
    content: str
    tags: Tags
    created_at: Timestamp
    pubkey: str | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    sig: str | UnsetType | None = UNSET


_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_template: Final = msgspec.json.Decoder(_WireTemplate).decode
_encode: Final = msgspec.json.Encoder().encode


def parse_event(raw: bytes | str | msgspec.Raw) -> Event:
    """The event in ``raw``: exactly the seven members of NIP-01, once each, of the exact types, in lower-case hex.

    Neither id nor signature is verified here. Raises EventError, and nothing else.
    """
    data = _bytes_of(raw)
    try:
        event = _decode_event(data)
    except (ValueError, RecursionError):
        raise EventError("malformed") from None
    if not (is_hex(event.id, 32) and is_hex(event.pubkey, 32) and is_hex(event.sig, 64)):
        raise EventError("not-hex")
    if not is_unambiguous(data, event):
        raise EventError("duplicate-key")
    return event


def parse_template(raw: str | bytes) -> EventTemplate:
    """The template in ``raw``, the one parameter of ``sign_event`` (NIP-46).

    kind, content, tags and created_at are required. Raises EventError, and nothing else.
    """
    data = _bytes_of(raw)
    try:
        wire = _decode_template(data)
    except (ValueError, RecursionError):
        raise EventError("malformed") from None
    if not is_unambiguous(data, wire):
        raise EventError("duplicate-key")
    pubkey = None if wire.pubkey is UNSET else wire.pubkey
    if pubkey is not None and not is_hex(pubkey, 32):
        raise EventError("not-hex")
    return EventTemplate(wire.kind, wire.content, wire.tags, wire.created_at, pubkey)


def _bytes_of(raw: bytes | str | msgspec.Raw) -> bytes:
    if isinstance(raw, str):
        try:
            raw = raw.encode()
        except UnicodeEncodeError:
            raise EventError("malformed") from None
    data = bytes(raw)
    if len(data) > MAX_EVENT_BYTES:
        raise EventError("too-large")
    return data


def id_bytes(pubkey: str, created_at: int, kind: int, tags: Sequence[Sequence[str]], content: str) -> bytes:
    """The event id, 32 bytes: SHA-256 of ``[0, pubkey, created_at, kind, tags, content]`` as NIP-01 writes it.

    Raises EventError for text that UTF-8 cannot hold.
    """
    try:
        return sha256(_encode((0, pubkey, created_at, kind, tags, content))).digest()
    except UnicodeEncodeError:
        raise EventError("malformed") from None


def event_id(pubkey: str, created_at: int, kind: int, tags: Sequence[Sequence[str]], content: str) -> str:
    """The event id as 64 lower-case hex digits; see ``id_bytes``."""
    return id_bytes(pubkey, created_at, kind, tags, content).hex()


def id_of(event: UnsignedEvent | Event) -> bytes:
    """The id recomputed from the event's members, 32 bytes."""
    return id_bytes(event.pubkey, event.created_at, event.kind, event.tags, event.content)


def verify_event(event: Event) -> bool:
    """Whether the id is the hash of the event and the signature is its author's over that id (NIP-01)."""
    try:
        computed = id_of(event)
        if computed.hex() != event.id:
            return False
        return verify(bytes.fromhex(event.pubkey), computed, bytes.fromhex(event.sig))
    except ValueError:
        return False


def serialize(event: Event | UnsignedEvent | EventTemplate) -> bytes:
    """The JSON object as it goes onto the wire, UTF-8, without spaces."""
    return _encode(event)


def tag_values(event: Event | UnsignedEvent | EventTemplate, name: str) -> list[str | None]:
    """The second item of each tag called ``name``, in order; None for a tag that has none."""
    return [tag[1] if len(tag) > 1 else None for tag in _tags(event, name)]


def single_tag_value(event: Event | UnsignedEvent | EventTemplate, name: str) -> str | None:
    """The value of the one tag called ``name``; None when there is no such tag, or more than one, or no value."""
    values = tag_values(event, name)
    return values[0] if len(values) == 1 else None


def is_expired(event: Event, now: int) -> bool:
    """Whether a NIP-40 ``expiration`` (Unix seconds) has been reached at ``now``; one that is no number has."""
    return any(_has_passed(value, now) for value in tag_values(event, "expiration"))


def _has_passed(value: str | None, now: int) -> bool:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 16:
        return True
    return int(value) <= now


def _tags(event: Event | UnsignedEvent | EventTemplate, name: str) -> Iterator[list[str]]:
    return (tag for tag in event.tags if tag and tag[0] == name)
