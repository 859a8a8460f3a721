"""What is said over the signer's socket: MessagePack arrays, strict, one frame (keys.signing.wire) each.

Every request carries a number that its reply repeats; replies may come in another order. References go whole: the
signer has no database, and what it opens is bound to the tenant, row, public key and purpose that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from keycast.nostr.nip01 import UnsignedEvent
from keycast.nostr.nip46 import CRYPT_METHODS
from keys.refs import KeyRef, Purpose, SealedSecret, TransportRef
from keys.signing.cosigning.authorisation import Grant
from keys.signing.cosigning.messages import B32, B64, EventBody, Number
from keys.signing.envelope import Place
from keys.signing.half import SealedHalf
from keys.signing.protocol import SplitKey

MAX_TEXT: Final = 512 * 1024
"""Characters of what is to be encrypted or decrypted."""

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
if TYPE_CHECKING:
    Crypt: TypeAlias = str
else:  # msgspec refuses any other
    Crypt = Literal[CRYPT_METHODS]


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # or rich would list the members all the same
        return []


class Request(_Message, frozen=True):
    """What every request begins with."""

    number: Number


class StatusOf(Request, frozen=True, tag="status"):
    """Who are you, and can you seal and open?"""


class Sign(Request, frozen=True, tag="sign"):
    """Sign this event, which has this id."""

    key: KeyRef
    event: EventBody
    event_id: B32


class UseKey(Request, frozen=True, tag="use"):
    """Encrypt or decrypt for this user."""

    key: KeyRef
    method: Crypt
    peer: Annotated[str, Meta(max_length=64)]
    text: Text


class OpenTransport(Request, frozen=True, tag="transport"):
    """Open this remote-signer key: the one secret that leaves the signer. It signs nothing in a user's name."""

    ref: TransportRef


class Generate(Request, frozen=True, tag="generate"):
    """Draw a key for this row."""

    tenant: UUID
    row: UUID
    parent: UUID | None
    purpose: Purpose


class Adopt(Request, frozen=True, tag="adopt"):
    """Seal this imported key."""

    secret: B32
    tenant: UUID
    row: UUID
    purpose: Purpose


class Rewrap(Request, frozen=True, tag="rewrap"):
    """Seal this anew."""

    sealed: SealedSecret
    place: Place


class Split(Request, frozen=True, tag="split"):
    """Split a stored key."""

    sealed: SealedSecret
    place: Place


class SplitSecret(Request, frozen=True, tag="split-secret"):
    """Split an imported key."""

    secret: B32
    tenant: UUID
    key: UUID


class HandOver(Request, frozen=True, tag="hand-over"):
    """Give half B to the co-signer."""

    split: SplitKey
    tenant: UUID
    key: UUID
    public_key: B32


class DrawHalf(Request, frozen=True, tag="draw-half"):
    """Draw a half A."""

    tenant: UUID
    key: UUID


class Agree(Request, frozen=True, tag="agree"):
    """Agree on the co-signer's new half, and on the tweak that keeps the public key."""

    key: KeyRef
    new: SealedHalf
    grant: Grant


class CheckKey(Request, frozen=True, tag="check-key"):
    """Does this open to its public key?"""

    key: KeyRef


class CheckTransport(Request, frozen=True, tag="check-transport"):
    """The same of a remote-signer key."""

    ref: TransportRef


class Forget(Request, frozen=True, tag="forget"):
    """Wipe what is open of this key, or of every key."""

    key: UUID | None


class KekOf(Request, frozen=True, tag="kek"):
    """Which versions are there for this tenant? An empty ``provider`` is the one that seals now."""

    tenant: UUID
    provider: str


class Reply(_Message, frozen=True):
    """What every reply begins with: the number of its request."""

    number: Number


class Done(Reply, frozen=True, tag="done"):
    """It is so."""


class Refused(Reply, frozen=True, tag="refused"):
    """It is not done: the class of the error (keys.signing.isolated.errors), its code, and its text for people."""

    kind: str
    code: str
    text: str


class Status(Reply, frozen=True, tag="status-is"):
    """The signer as it is. ``problem`` is empty when it can seal; ``modes`` are ``mode/provider``."""

    process: int
    problem: str
    provider: str
    modes: tuple[str, ...]
    is_locked: bool


class Signed(Reply, frozen=True, tag="signed"):
    """A BIP-340 signature."""

    signature: B64


class TextIs(Reply, frozen=True, tag="text-is"):
    """What came of the text."""

    text: str


class Opened(Reply, frozen=True, tag="opened"):
    """A remote-signer key's secret."""

    secret: B32


class NewKeyIs(Reply, frozen=True, tag="new-key"):
    """A key's public half, and its secret half sealed."""

    public_key: str
    sealed: SealedSecret


class SealedIs(Reply, frozen=True, tag="sealed"):
    """The same secret, sealed anew."""

    sealed: SealedSecret


class SplitIs(Reply, frozen=True, tag="split-is"):
    """Two sealed halves."""

    split: SplitKey


class HalfIs(Reply, frozen=True, tag="half-is"):
    """A sealed half A."""

    half: SealedHalf


class Agreed(Reply, frozen=True, tag="agreed"):
    """The co-signer's new half (x-only) and the new tweak: both public."""

    half_b: B32
    tweak: bytes


class KekIs(Reply, frozen=True, tag="kek-is"):
    """The provider's name, its current version and all that it can open, oldest first."""

    provider: str
    current: str
    known: tuple[str, ...]


AnyRequest = (
    StatusOf | Sign | UseKey | OpenTransport | Generate | Adopt | Rewrap | Split | SplitSecret | HandOver | DrawHalf
    | Agree | CheckKey | CheckTransport | Forget | KekOf
)  # fmt: skip
AnyReply = (
    Done | Refused | Status | Signed | TextIs | Opened | NewKeyIs | SealedIs | SplitIs | HalfIs | Agreed | KekIs
)  # fmt: skip

encode: Final = msgspec.msgpack.Encoder().encode
decode_request: Final = msgspec.msgpack.Decoder(AnyRequest).decode
decode_reply: Final = msgspec.msgpack.Decoder(AnyReply).decode


def event_of(body: EventBody) -> UnsignedEvent:
    """The event inside a request."""
    return UnsignedEvent(body.pubkey, body.created_at, body.kind, body.tags, body.content)
