"""Events: strict parsing, ids, verification (NIP-01), and the tags that every reader needs (NIP-40)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keycast.crypto.schnorr import verify
from keycast.nostr.errors import NostrError
from keycast.nostr.strict import RedactedStruct, is_unambiguous
from keycast.nostr.types import MAX_KIND, MAX_TIMESTAMP, is_hex

MAX_EVENT_BYTES: Final = 1024 * 1024
"""Longest JSON text of an event that is looked at, in bytes."""
MAX_TEMPLATE_BYTES: Final = 512 * 1024
"""Longest JSON text of an event that is signed, in bytes."""
MAX_TAGS: Final = 16_384
"""More than as many bytes hold of the tags that lists are made of."""

MAX_HEAD_TAGS_BYTES: Final = 4096
"""Longest JSON text of the tags of an event that is looked at by its head."""

Timestamp = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP)]
KindNumber = Annotated[int, Meta(ge=0, le=MAX_KIND)]
Tags = Annotated[list[list[str]], Meta(max_length=MAX_TAGS)]
"""An empty tag is odd, but NIP-01 does not forbid it and other libraries sign it."""


class EventError(NostrError):
    """A text that is not an event. ``code`` is one of ``too-large``, ``malformed``, ``duplicate-key``, ``not-hex``.

    ``detail`` is a sentence for whoever wrote the event: the member that is wrong and its bound, never its value.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
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


class EventHead(msgspec.Struct, frozen=True, gc=False):
    """What is to be known of an event without its content; see ``parse_head``."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    sig: str
    raw_tags: msgspec.Raw = msgspec.field(name="tags")

    @property
    def tags(self) -> list[list[str]]:
        """The tags, read when they are asked for. Raises EventError, also above MAX_HEAD_TAGS_BYTES (``too-large``)."""
        if len(bytes(self.raw_tags)) > MAX_HEAD_TAGS_BYTES:
            raise EventError("too-large")
        try:
            return _decode_tags(self.raw_tags)
        except (ValueError, RecursionError):
            raise EventError("malformed") from None


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
_decode_head: Final = msgspec.json.Decoder(EventHead).decode
_decode_tags: Final = msgspec.json.Decoder(list[list[str]]).decode
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


def parse_head(raw: bytes) -> EventHead:
    """The event in ``raw`` without its content, at a fraction of the cost: to refuse it, never to take it.

    Nothing is proved: members may be there twice, hex is not checked. Raises EventError.
    """
    try:
        return _decode_head(raw)
    except (ValueError, RecursionError):
        raise EventError("malformed") from None


def parse_template(raw: str | bytes) -> EventTemplate:
    """The template in ``raw``, the one parameter of ``sign_event`` (NIP-46).

    kind, content, tags and created_at are required. Raises EventError, and nothing else.
    """
    data = _bytes_of(raw, MAX_TEMPLATE_BYTES)
    try:
        wire = _decode_template(data)
    except msgspec.ValidationError as error:
        raise EventError("malformed", _what_is_wrong(str(error))) from None
    except (ValueError, RecursionError):
        raise EventError("malformed", "It is not the JSON text of an event.") from None
    if not is_unambiguous(data, wire):
        raise EventError("duplicate-key", "It names a member twice, or is not valid UTF-8.")
    pubkey = None if wire.pubkey is UNSET else wire.pubkey
    if pubkey is not None and not is_hex(pubkey, 32):
        raise EventError("not-hex", _BOUNDS["pubkey"])
    return EventTemplate(wire.kind, wire.content, wire.tags, wire.created_at, pubkey)


_BOUNDS: Final = {
    "kind": f"kind must be a whole number from 0 to {MAX_KIND}.",
    "content": "content must be a string.",
    "tags": f"tags must be a list of at most {MAX_TAGS} lists of strings.",
    "created_at": f"created_at must be a whole number of seconds from 0 to {MAX_TIMESTAMP}.",
    "pubkey": "pubkey must be 64 lower-case hex digits.",
    "id": "id must be a string, or left out: it is made anew.",
    "sig": "sig must be a string, or left out: it is made anew.",
}
_WRONG_MEMBER: Final = re.compile(r"at `\$\.([a-z_]+)((?:\[[0-9]+\]|\[\.\.\.\])*)`$")
_MISSING_MEMBER: Final = re.compile(r"missing required field `([a-z_]+)`$")


def _what_is_wrong(text: str) -> str:
    """A sentence about the member that msgspec's message names; it tells types and places, no values."""
    if missing := _MISSING_MEMBER.search(text):
        return f"{missing[1]} is missing."
    wrong = _WRONG_MEMBER.search(text)
    if wrong is None or wrong[1] not in _BOUNDS:
        return "It must be a JSON object with kind, content, tags and created_at."
    place = f" (see {wrong[1]}{wrong[2]})" if wrong[2] else ""
    return f"{_BOUNDS[wrong[1]].removesuffix('.')}{place}."


def _bytes_of(raw: bytes | str | msgspec.Raw, most: int = MAX_EVENT_BYTES) -> bytes:
    if isinstance(raw, str):
        try:
            raw = raw.encode()
        except UnicodeEncodeError:
            raise EventError("malformed", "It is not valid Unicode.") from None
    data = bytes(raw)
    if len(data) > most:
        raise EventError("too-large", f"It has {len(data)} bytes; at most {most} are signed.")
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


def tag_values(event: Event | EventHead | UnsignedEvent | EventTemplate, name: str) -> list[str | None]:
    """The second item of each tag called ``name``, in order; None for a tag that has none."""
    return [tag[1] if len(tag) > 1 else None for tag in _tags(event, name)]


def single_tag_value(event: Event | UnsignedEvent | EventTemplate, name: str) -> str | None:
    """The value of the one tag called ``name``; None when there is no such tag, or more than one, or no value."""
    values = tag_values(event, name)
    return values[0] if len(values) == 1 else None


def is_expired(event: Event | EventHead, now: int) -> bool:
    """Whether a NIP-40 ``expiration`` (Unix seconds) has been reached at ``now``; one that is no number has."""
    return any(_has_passed(value, now) for value in tag_values(event, "expiration"))


def _has_passed(value: str | None, now: int) -> bool:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 16:
        return True
    return int(value) <= now


def _tags(event: Event | EventHead | UnsignedEvent | EventTemplate, name: str) -> Iterator[list[str]]:
    return (tag for tag in event.tags if tag and tag[0] == name)
