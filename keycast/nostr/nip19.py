"""NIP-19: keys and pointers as people copy them. npub, nsec, note, nprofile, nevent, naddr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Self

import msgspec

from keycast.crypto.schnorr import is_public_key
from keycast.crypto.secret import SecretBytes, view_of
from keycast.nostr import bech32
from keycast.nostr.errors import NostrError
from keycast.nostr.types import MAX_KIND, EventId, PublicKeyHex, is_hex

_SPECIAL: Final = 0
_RELAY: Final = 1
_AUTHOR: Final = 2
_KIND: Final = 3


class Nip19Error(NostrError):
    """A text that is not what its prefix says, or a value that cannot be written; never repeats the text."""

    def __init__(self) -> None:
        super().__init__("invalid NIP-19 text")


def encode_npub(public_key: str) -> str:
    """``npub1...`` of a public key in hex."""
    return bech32.encode("npub", _public_key(public_key))


def decode_npub(text: str) -> PublicKeyHex:
    """The public key in hex; it is on the curve. Raises Nip19Error."""
    return _public_key_hex(_decoded("npub", text))


def encode_note(event_id: str) -> str:
    """``note1...`` of an event id in hex."""
    return bech32.encode("note", _id(event_id))


def decode_note(text: str) -> EventId:
    """The event id in hex. Raises Nip19Error."""
    return EventId(_sized(_decoded("note", text)).hex())


def encode_nsec(secret: SecretBytes) -> str:
    """``nsec1...``. The text cannot be wiped: only for an export that the owner asked for."""
    return bech32.encode("nsec", view_of(secret, 32))


def decode_nsec(text: str) -> SecretBytes:
    """The 32 bytes of a secret key, whose range is not checked here. Raises Nip19Error."""
    return _secret_of(_decoded("nsec", text))


def decode_nsec_buffer(text: memoryview) -> SecretBytes:
    """The same of a text in a buffer, without making a ``str`` of it. Raises Nip19Error."""
    try:
        return _secret_of(bech32.decode_buffer("nsec", text))
    except bech32.Bech32Error:
        raise Nip19Error from None


def _secret_of(data: bytearray) -> SecretBytes:
    secret = SecretBytes.adopt(data)
    if len(secret) != 32:
        secret.wipe()
        raise Nip19Error
    return secret


def public_key_of(text: str) -> PublicKeyHex:
    """The public key that a person gave as npub, nprofile or lower-case hex. Raises Nip19Error."""
    if text[:5].lower() == "npub1":
        return decode_npub(text)
    if text[:9].lower() == "nprofile1":
        return PublicKeyHex(ProfilePointer.decode(text).public_key)
    return PublicKeyHex(_public_key(text).hex())


class ProfilePointer(msgspec.Struct, frozen=True):
    """``nprofile1...``: a public key, and relays where its owner may be found (hints: unchecked text)."""

    public_key: str
    relays: tuple[str, ...] = ()

    def encode(self) -> str:
        """Raises Nip19Error."""
        return bech32.encode("nprofile", _written([(_SPECIAL, _public_key(self.public_key)), *_relays(self.relays)]))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises Nip19Error."""
        fields = _Fields("nprofile", text)
        return cls(_public_key_hex(fields.one(_SPECIAL)), fields.relays())


class EventPointer(msgspec.Struct, frozen=True):
    """``nevent1...``: an event id, relay hints, perhaps the author (hex) and the kind."""

    event_id: str
    relays: tuple[str, ...] = ()
    author: str | None = None
    kind: int | None = None

    def encode(self) -> str:
        """Raises Nip19Error."""
        items = [(_SPECIAL, _id(self.event_id)), *_relays(self.relays)]
        items += [(_AUTHOR, _public_key(self.author))] if self.author is not None else []
        items += [(_KIND, _kind_bytes(self.kind))] if self.kind is not None else []
        return bech32.encode("nevent", _written(items))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises Nip19Error."""
        fields = _Fields("nevent", text)
        author, kind = fields.maybe(_AUTHOR), fields.maybe(_KIND)
        return cls(
            _sized(fields.one(_SPECIAL)).hex(),
            fields.relays(),
            None if author is None else _public_key_hex(author),
            None if kind is None else _kind(kind),
        )


class AddressPointer(msgspec.Struct, frozen=True):
    """``naddr1...``: an addressable event by kind, author (hex) and ``d`` tag, with relay hints."""

    identifier: str
    author: str
    kind: int
    relays: tuple[str, ...] = ()

    def encode(self) -> str:
        """Raises Nip19Error."""
        special = (_SPECIAL, _text_bytes(self.identifier))
        items = [special, *_relays(self.relays), (_AUTHOR, _public_key(self.author)), (_KIND, _kind_bytes(self.kind))]
        return bech32.encode("naddr", _written(items))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises Nip19Error."""
        fields = _Fields("naddr", text)
        identifier = _text(fields.one(_SPECIAL))
        return cls(identifier, _public_key_hex(fields.one(_AUTHOR)), _kind(fields.one(_KIND)), fields.relays())


class _Fields:
    """The type-length-value items of one text; unknown types are ignored (NIP-19, "Shareable identifiers")."""

    def __init__(self, prefix: str, text: str) -> None:
        self._items = list(_read(bytes(_decoded(prefix, text))))

    def maybe(self, kind: int) -> bytes | None:
        return next((value for found, value in self._items if found == kind), None)

    def one(self, kind: int) -> bytes:
        value = self.maybe(kind)
        if value is None:
            raise Nip19Error
        return value

    def relays(self) -> tuple[str, ...]:
        return tuple(_text(value) for found, value in self._items if found == _RELAY)


def _read(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        value = data[position + 2 : position + 2 + data[position + 1]] if position + 1 < len(data) else None
        if value is None or len(value) != data[position + 1]:
            raise Nip19Error
        yield data[position], value
        position += 2 + len(value)


def _written(items: Iterable[tuple[int, bytes]]) -> bytes:
    output = b"".join(bytes([kind, len(value)]) + value for kind, value in items)
    if len(output) > bech32.MAX_LENGTH // 2:
        raise Nip19Error
    return output


def _relays(relays: Iterable[str]) -> list[tuple[int, bytes]]:
    return [(_RELAY, _text_bytes(relay)) for relay in relays]


def _decoded(prefix: str, text: str) -> bytearray:
    try:
        return bech32.decode(prefix, text)
    except bech32.Bech32Error:
        raise Nip19Error from None


def _sized(data: bytes | bytearray) -> bytes:
    if len(data) != 32:
        raise Nip19Error
    return bytes(data)


def _id(text: str) -> bytes:
    if not is_hex(text, 32):
        raise Nip19Error
    return bytes.fromhex(text)


def _public_key(text: str) -> bytes:
    data = _id(text)
    if not is_public_key(data):
        raise Nip19Error
    return data


def _public_key_hex(data: bytes | bytearray) -> PublicKeyHex:
    if not is_public_key(bytes(data)):
        raise Nip19Error
    return PublicKeyHex(data.hex())


def _kind(data: bytes) -> int:
    if len(data) != 4 or int.from_bytes(data, "big") > MAX_KIND:
        raise Nip19Error
    return int.from_bytes(data, "big")


def _kind_bytes(kind: int) -> bytes:
    if not 0 <= kind <= MAX_KIND:
        raise Nip19Error
    return kind.to_bytes(4, "big")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Nip19Error from None


def _text_bytes(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Nip19Error from None
    if len(data) > 255:
        raise Nip19Error
    return data
