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
from keycast.nostr.nip49 import MAX_PASSWORD
from keys.refs import KeyRef, SealedSecret, SecretPurpose, TransportRef
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.messages import B32, B64, AskedUse, EventBody, Number
from keys.signing.envelope import SealingContext
from keys.signing.half import SealedHalf
from keys.signing.protocol import SplitKey
from keys.signing.sealed_halves import PageKey, SealedHalves

MAX_TEXT: Final = 1024 * 1024
"""Characters of what is to be encrypted or decrypted."""

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
if TYPE_CHECKING:
    Crypt: TypeAlias = str
else:  # msgspec refuses any other
    Crypt = Literal[CRYPT_METHODS]


class _SignerMessage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # or rich would list the members all the same
        return []


class SignerRequest(_SignerMessage, frozen=True):
    """What every request begins with."""

    number: Number


class StatusRequest(SignerRequest, frozen=True, tag="status"):
    """Who are you, and can you seal and open?"""


class SignEventRequest(SignerRequest, frozen=True, tag="sign"):
    """Sign this event, which has this id."""

    key: KeyRef
    event: EventBody
    event_id: B32
    asked: AskedUse | None = None


class CipherRequest(SignerRequest, frozen=True, tag="use"):
    """Encrypt or decrypt for this user."""

    key: KeyRef
    method: Crypt
    peer: Annotated[str, Meta(max_length=64)]
    text: Text
    client: Annotated[str, Meta(max_length=64)] = ""
    asked: AskedUse | None = None


class OpenTransportKeyRequest(SignerRequest, frozen=True, tag="transport"):
    """Open this remote-signer key: the one secret that leaves the signer. It signs nothing in a user's name."""

    ref: TransportRef


class GenerateKeyRequest(SignerRequest, frozen=True, tag="generate"):
    """Draw a key for this row."""

    tenant: UUID
    row: UUID
    parent: UUID | None
    purpose: SecretPurpose


class ImportKeyRequest(SignerRequest, frozen=True, tag="adopt"):
    """Seal this imported key."""

    secret: B32
    tenant: UUID
    row: UUID
    purpose: SecretPurpose


class RewrapRequest(SignerRequest, frozen=True, tag="rewrap"):
    """Seal this anew."""

    sealed: SealedSecret
    place: SealingContext


class SplitKeyRequest(SignerRequest, frozen=True, tag="split"):
    """Split a stored key."""

    sealed: SealedSecret
    place: SealingContext


class SplitImportedKeyRequest(SignerRequest, frozen=True, tag="split-secret"):
    """Split an imported key."""

    secret: B32
    tenant: UUID
    key: UUID


class HandOverHalfRequest(SignerRequest, frozen=True, tag="hand-over"):
    """Give half B to the co-signer."""

    split: SplitKey
    tenant: UUID
    key: UUID
    public_key: B32


class DrawHalfRequest(SignerRequest, frozen=True, tag="draw-half"):
    """Draw a half A."""

    tenant: UUID
    key: UUID


class DrawPageKeyRequest(SignerRequest, frozen=True, tag="draw-page-key"):
    """Draw an encryption key for an import page."""

    tenant: UUID
    key: UUID


class TakeSealedHalfRequest(SignerRequest, frozen=True, tag="take-half"):
    """Open half A as a browser sealed it, and seal it for its row."""

    halves: SealedHalves


class AgreeRefreshRequest(SignerRequest, frozen=True, tag="agree"):
    """Agree on the co-signer's new half, and on the tweak that keeps the public key."""

    key: KeyRef
    new: SealedHalf
    grant: UseAuthorisation


class CheckKeyRequest(SignerRequest, frozen=True, tag="check-key"):
    """Does this open to its public key?"""

    key: KeyRef


class CheckTransportKeyRequest(SignerRequest, frozen=True, tag="check-transport"):
    """The same of a remote-signer key."""

    ref: TransportRef


class ExportKeyRequest(SignerRequest, frozen=True, tag="export"):
    """Open this encrypted key, and seal it under this password (NIP-49)."""

    key: KeyRef
    password: Annotated[str, Meta(min_length=1, max_length=MAX_PASSWORD)]


class ForgetOpenKeysRequest(SignerRequest, frozen=True, tag="forget"):
    """Wipe what is open of this key, or of every key."""

    key: UUID | None


class KekVersionsRequest(SignerRequest, frozen=True, tag="kek"):
    """Which version is current for this tenant? An empty ``provider`` is the one that seals now."""

    tenant: UUID
    provider: str


class SignerReply(_SignerMessage, frozen=True):
    """What every reply begins with: the number of its request."""

    number: Number


class SignerDoneReply(SignerReply, frozen=True, tag="done"):
    """It is so."""


class SignerRefusedReply(SignerReply, frozen=True, tag="refused"):
    """It is not done: the class of the error (keys.signing.isolated.errors), its code, and its text for people."""

    kind: str
    code: str
    text: str


class StatusReply(SignerReply, frozen=True, tag="status-is"):
    """The signer as it is. ``problem`` is empty when it can seal; ``modes`` are ``encrypted`` and ``hsm/provider``."""

    process: int
    problem: str
    provider: str
    modes: tuple[str, ...]
    is_locked: bool


class SignatureReply(SignerReply, frozen=True, tag="signed"):
    """A BIP-340 signature."""

    signature: B64


class CipherReply(SignerReply, frozen=True, tag="text-is"):
    """What came of the text."""

    text: str


class OpenedTransportKeyReply(SignerReply, frozen=True, tag="opened"):
    """A remote-signer key's secret."""

    secret: B32


class NewKeyReply(SignerReply, frozen=True, tag="new-key"):
    """A key's public half, and its secret half sealed."""

    public_key: str
    sealed: SealedSecret


class SealedSecretReply(SignerReply, frozen=True, tag="sealed"):
    """The same secret, sealed anew."""

    sealed: SealedSecret


class SplitKeyReply(SignerReply, frozen=True, tag="split-is"):
    """Two sealed halves."""

    split: SplitKey


class SealedHalfReply(SignerReply, frozen=True, tag="half-is"):
    """A sealed half A."""

    half: SealedHalf


class PageKeyReply(SignerReply, frozen=True, tag="page-key-is"):
    """An import page's encryption key, its private part sealed."""

    page_key: PageKey


class AgreeRefreshReply(SignerReply, frozen=True, tag="agreed"):
    """The co-signer's new half (x-only) and the new tweak: both public."""

    half_b: B32
    tweak: bytes


class ExportedKeyReply(SignerReply, frozen=True, tag="ncryptsec-is"):
    """A key under a password; ciphertext, and nothing else of it."""

    ncryptsec: Annotated[str, Meta(max_length=200)]


class KekVersionsReply(SignerReply, frozen=True, tag="kek-is"):
    """The provider's name and its current version."""

    provider: str
    current: str


AnyRequest = (
    StatusRequest
    | SignEventRequest
    | CipherRequest
    | OpenTransportKeyRequest
    | GenerateKeyRequest
    | ImportKeyRequest
    | RewrapRequest
    | SplitKeyRequest
    | SplitImportedKeyRequest
    | HandOverHalfRequest
    | DrawHalfRequest
    | DrawPageKeyRequest
    | TakeSealedHalfRequest
    | AgreeRefreshRequest
    | CheckKeyRequest
    | CheckTransportKeyRequest
    | ExportKeyRequest
    | ForgetOpenKeysRequest
    | KekVersionsRequest
)
AnyReply = (
    SignerDoneReply
    | SignerRefusedReply
    | StatusReply
    | SignatureReply
    | CipherReply
    | OpenedTransportKeyReply
    | NewKeyReply
    | SealedSecretReply
    | SplitKeyReply
    | SealedHalfReply
    | PageKeyReply
    | AgreeRefreshReply
    | ExportedKeyReply
    | KekVersionsReply
)

encode: Final = msgspec.msgpack.Encoder().encode
decode_request: Final = msgspec.msgpack.Decoder(AnyRequest).decode
decode_reply: Final = msgspec.msgpack.Decoder(AnyReply).decode


def event_of(body: EventBody) -> UnsignedEvent:
    """The event inside a request."""
    return UnsignedEvent(body.pubkey, body.created_at, body.kind, body.tags, body.content)
