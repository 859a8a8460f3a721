"""What signer A and the co-signer say to each other: MessagePack arrays, strict, one frame each.

Every request carries a number that its reply repeats;
replies may come in another order. Halves and nonces are named by public values; ``half_a`` (x-only, 32 bytes) tells
which pair of halves is meant while a refresh is under way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from keycast.nostr.nip01 import KindNumber, Tags, Timestamp, UnsignedEvent
from keys.signing.cosigning.authorisation import UseAuthorisation

Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
Challenge = Annotated[bytes, Meta(min_length=16, max_length=16)]
B32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
B33 = Annotated[bytes, Meta(min_length=33, max_length=33)]
B64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
B65 = Annotated[bytes, Meta(min_length=65, max_length=65)]
B66 = Annotated[bytes, Meta(min_length=66, max_length=66)]
SealedHalfText = Annotated[bytes, Meta(min_length=113, max_length=113)]
Tweak = Annotated[bytes, Meta(max_length=32)]
AuthoriserKey = Annotated[bytes, Meta(min_length=33, max_length=34)]
"""As keycast.crypto.authoriser_keys has it: its length and first byte say which curve it is on."""
Point = Annotated[bytes, Meta(max_length=34)]
Number = Annotated[int, Meta(ge=0, lt=2**32)]
RowNumber = Annotated[int, Meta(ge=0, lt=2**53)]
Seconds = Annotated[int, Meta(ge=1, lt=2**32)]
Uses = Annotated[int, Meta(ge=1, lt=2**32)]
MAX_PEERS: Final = 64
"""Peers in one request to read: some 4 ms of the co-signer's time."""
Hex32 = Annotated[str, Meta(min_length=64, max_length=64)]


class RefusalCode(StrEnum):
    """Why the co-signer refuses."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown-key"
    KEY_EXISTS = "key-exists"
    KEY_LOCKED = "key-locked"
    KEY_UNAVAILABLE = "key-unavailable"
    STALE_HALF = "stale-half"
    WRONG_EVENT = "wrong-event"
    UNAUTHORISED = "unauthorised"
    REPLAYED = "replayed"
    UNPROVEN = "unproven"
    REFUSED_BY_OWNER = "refused-by-owner"
    STOPPED_BY_OPERATOR = "stopped-by-operator"
    OVER_BUDGET = "over-budget"
    KIND_NOT_ALLOWED = "kind-not-allowed"
    STALE_CHALLENGE = "stale-challenge"
    NOT_ASKED = "not-asked"
    WRONG_REQUEST = "wrong-request"
    STALE_REQUEST = "stale-request"
    APP_NOT_ADMITTED = "app-not-admitted"
    APPS_CLOSED = "apps-closed"
    RATE_LIMITED = "rate-limited"
    TOO_MANY_FORGETS = "too-many-forgets"
    BUSY = "busy"
    NO_READING = "no-reading"
    READING_REFUSED = "reading-refused"
    UNAVAILABLE = "unavailable"
    SELF_CHECK_FAILED = "self-check-failed"


class _CosignerMessage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # or rich would list the members all the same
        return []


class HsmProof(_CosignerMessage, frozen=True):
    """What is to show that an authoriser is a key in an HSM (keys.cosigner.attestation); all empty for none.

    The key version's full name, the HSM's compressed statement, and PEM certificates.
    """

    key_version: Annotated[str, Meta(max_length=255)] = ""
    statement: Annotated[bytes, Meta(max_length=16_384)] = b""
    certificates: Annotated[bytes, Meta(max_length=65_536)] = b""


NO_PROOF: Final = HsmProof()


class CosignerRequest(_CosignerMessage, frozen=True):
    """What every request begins with: its number, the tenant's and the personal key's id."""

    number: Number
    tenant: Id
    key: Id


class EventBody(_CosignerMessage, frozen=True):
    """The event to be signed, whole (NIP-01)."""

    pubkey: Hex32
    created_at: Timestamp
    kind: KindNumber
    tags: Tags
    content: str

    @classmethod
    def of(cls, event: UnsignedEvent) -> EventBody:
        return cls(event.pubkey, event.created_at, event.kind, event.tags, event.content)


class AppRequest(_CosignerMessage, frozen=True):
    """What an app sent over NIP-46: its signed event of kind 24133, and the NIP-44 conversation key that opens it.

    Not the keys of the one message: whoever chooses those chooses what the content decrypts to. From the conversation
    key they follow by HKDF, and a MAC over the content that the app signed fits no other one.
    """

    client: B32
    created_at: Timestamp
    tags: Tags
    content: str
    signature: B64
    conversation_key: B32


class AppAdmission(_CosignerMessage, frozen=True):
    """What an app (its public key) may ask of a key by way of a remote signer (its public key).

    ``kinds`` are ranges, both ends included, for ``sign_event``. ``expires_at`` in ms of Unix time; 0: open. ``proof``
    is for an admission that the owner has signed; nothing reads it yet, and the co-signer refuses one.
    """

    client: B32
    signer: B32
    methods: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=16)]
    kinds: Annotated[list[tuple[KindNumber, KindNumber]], Meta(max_length=2048)]
    expires_at: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    proof: Annotated[bytes, Meta(max_length=4096)] = b""


class AskedUse(_CosignerMessage, frozen=True):
    """An app's request, and what its app is admitted for: what signer A hands down to where the co-signer is asked."""

    request: AppRequest
    admission: AppAdmission


class PingRequest(CosignerRequest, frozen=True, tag="ping"):
    """Are you there?"""


class ChallengeRequest(CosignerRequest, frozen=True, tag="challenge"):
    """Which challenge is an authorisation to name now?"""


class CreateHalfRequest(CosignerRequest, frozen=True, tag="create"):
    """Draw half B beside this half A; the aggregate is the key."""

    half_a: B32


class ImportHalfRequest(CosignerRequest, frozen=True, tag="adopt"):
    """Keep this half B of an imported key."""

    half_a: B32
    secret: B32
    tweak: B32
    public_key: B32


class EncryptionKeyRequest(CosignerRequest, frozen=True, tag="encryption-key"):
    """Which key does a browser seal a half to, that is to be yours?"""


class ImportSealedHalfRequest(CosignerRequest, frozen=True, tag="adopt-sealed"):
    """Keep this half B of an imported key, which a browser has sealed (keys.signing.sealed_halves); once."""

    half_a: B32
    half_b: B32
    tweak: B32
    public_key: B32
    token: B32
    sealed: SealedHalfText


class RegisterAuthoriserRequest(CosignerRequest, frozen=True, tag="register"):
    """From now on sign what this ECDSA key authorises; once for a key (``AddAuthoriserRequest`` for another one)."""

    authoriser: AuthoriserKey
    proof: HsmProof = NO_PROOF


class AuthorisersRequest(CosignerRequest, frozen=True, tag="authorisers"):
    """Whose authorisations hold for this key?"""


class AddAuthoriserRequest(CosignerRequest, frozen=True, tag="succeed"):
    """Accept this ECDSA key beside the present one, which has signed for it, after the delay; repeated until then."""

    authoriser: AuthoriserKey
    grant: UseAuthorisation
    proof: HsmProof = NO_PROOF


class RefuseAuthoriserRequest(CosignerRequest, frozen=True, tag="refuse-authoriser"):
    """Never accept this ECDSA key for this key. Needs no authorisation: refusing is safe."""

    authoriser: AuthoriserKey


class SettleAuthoriserRequest(CosignerRequest, frozen=True, tag="settle"):
    """Of two authorisers, accept this one alone."""

    authoriser: AuthoriserKey


class PartialSignatureRequest(CosignerRequest, frozen=True, tag="sign"):
    """Sign this event, which the HSM has authorised, and which an app asked for (None: no app did)."""

    half_a: B32
    event: EventBody
    event_id: B32
    nonce_a: B66
    grant: UseAuthorisation
    asked: AppRequest | None = None


class EcdhRequest(CosignerRequest, frozen=True, tag="ecdh"):
    """Contribute to the joint secret with this peer, which an app asked for (None: no app did)."""

    half_a: B32
    peer: B32
    grant: UseAuthorisation
    asked: AppRequest | None = None


class AdmitAppRequest(CosignerRequest, frozen=True, tag="admit-app"):
    """This app may ask for this; in the place of what it might before. Repeatable."""

    admission: AppAdmission


class EndAppRequest(CosignerRequest, frozen=True, tag="end-app"):
    """This app (its public key) may ask for nothing more. Repeatable."""

    client: B32


class OpenReadingRequest(CosignerRequest, frozen=True, tag="open-reading"):
    """For so long, and so many uses, contribute to joint secrets of this app (its public key) without more grants."""

    client: B32
    seconds: Seconds
    uses: Uses
    grant: UseAuthorisation


class ReadRequest(CosignerRequest, frozen=True, tag="read"):
    """Contribute to the joint secrets with these peers, under the reading grant of this app."""

    half_a: B32
    client: B32
    peers: Annotated[list[B32], Meta(min_length=1, max_length=MAX_PEERS)]


class EndReadingRequest(CosignerRequest, frozen=True, tag="end-reading"):
    """End the reading grant of this app; of every app, if none is named. Needs no authorisation: ending is safe."""

    client: Annotated[bytes, Meta(max_length=32)]


class PrepareRefreshRequest(CosignerRequest, frozen=True, tag="prepare"):
    """Draw a new half B beside this new half A, and tell the difference."""

    half_a: B32
    new_half_a: B32
    grant: UseAuthorisation


class CommitRefreshRequest(CosignerRequest, frozen=True, tag="commit"):
    """Sign with the new halves too."""

    new_half_a: B32
    tweak: B32


class FinishRefreshRequest(CosignerRequest, frozen=True, tag="finish"):
    """Destroy the old half."""

    new_half_a: B32


class KeyStateRequest(CosignerRequest, frozen=True, tag="state"):
    """In which state do you hold this key?"""


class StopKeyRequest(CosignerRequest, frozen=True, tag="stop"):
    """Refuse all use of the key: ``locked`` or ``disabled``. Needs no authorisation: stopping is safe."""

    state: str


class EnableKeyRequest(CosignerRequest, frozen=True, tag="enable"):
    """Serve the key again."""

    grant: UseAuthorisation


class ForgetKeyRequest(CosignerRequest, frozen=True, tag="forget"):
    """Refuse all use from now on, and destroy every half of this key when its time has come.

    ``named`` is the key's public key; or, of a conversion that was given up, the half B that is meant.
    """

    named: B32
    grant: UseAuthorisation


class KeepKeyRequest(CosignerRequest, frozen=True, tag="keep"):
    """Do not forget the key after all; it is disabled then. Needs no authorisation: it gives nothing away."""


class WithdrawHalfRequest(CosignerRequest, frozen=True, tag="withdraw"):
    """Destroy this half at once, if it is the only one of its key and the key was never in use."""

    half_b: B32


class KeyLogRequest(CosignerRequest, frozen=True, tag="log"):
    """Which rows has your log of this key? Without a key (zeros): which rows of uses, of all keys.

    Rows behind ``after`` and before ``before`` (0: no bound), newest first or not, at most ``limit``.
    """

    after: RowNumber = 0
    before: RowNumber = 0
    is_oldest_first: bool = False
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class LogEntry(_CosignerMessage, frozen=True):
    """A row of the co-signer's log: ``at`` in microseconds, ``key`` empty where it is of none, ``data`` JSON."""

    sequence: RowNumber
    at: int
    tag: str
    outcome: str
    key: bytes
    request_id: str
    data: str


class ReadingEntry(_CosignerMessage, frozen=True):
    """A reading grant that is open: whose, from when until when (Unix time in ms), how many uses, and how many so far.

    ``peers`` is with how many different ones.
    """

    client: B32
    opened_at: int
    until: int
    uses: int
    used: int
    peers: int


class CosignerReply(_CosignerMessage, frozen=True):
    """What every reply begins with: the number of its request."""

    number: Number


class CosignerDoneReply(CosignerReply, frozen=True, tag="done"):
    """It is so, and was before if this is a repetition."""


class CosignerRefusedReply(CosignerReply, frozen=True, tag="refused"):
    """It is not done."""

    code: str


class ChallengeReply(CosignerReply, frozen=True, tag="challenge-is"):
    """The challenge, and for how many seconds it is the one to name."""

    challenge: Challenge
    seconds: Annotated[float, Meta(ge=0, le=3600)]


class HalfReply(CosignerReply, frozen=True, tag="made"):
    """The half's public key (x-only; its point has an even Y)."""

    half_b: B32


class EncryptionKeyReply(CosignerReply, frozen=True, tag="encryption-key-is"):
    """The key: an uncompressed point of P-256."""

    public: B65


class KeyStateReply(CosignerReply, frozen=True, tag="state-is"):
    """``pending``, ``active``, ``locked``, ``disabled``, ``forgetting`` or ``forgotten``."""

    state: str


class AuthorisersReply(CosignerReply, frozen=True, tag="authorisers-are"):
    """The present one, and one that holds beside it; empty for none.

    ``proved_by`` says what shows that the present one is in an HSM (keys.cosigner.candidates.ProvedBy). ``waiting``
    becomes the coming one at ``until`` (Unix time in ms), if nobody refuses it.
    """

    authoriser: Point
    coming: Point
    proved_by: str = ""
    waiting: Point = b""
    until: int = 0


class AuthoriserWaitsReply(CosignerReply, frozen=True, tag="authoriser-waits"):
    """It will be accepted at this time (Unix time in ms), if nobody refuses it; ask again then."""

    until: int


class PartialSignatureReply(CosignerReply, frozen=True, tag="signed"):
    """The co-signer's public nonce and its partial signature."""

    nonce_b: B66
    partial: B32


class EcdhReply(CosignerReply, frozen=True, tag="contribution"):
    """The co-signer's part of a joint secret, a compressed point."""

    point: B33


class ReadReply(CosignerReply, frozen=True, tag="contributions"):
    """The co-signer's parts of the joint secrets, compressed points in the order of the peers."""

    points: list[B33]


class PrepareRefreshReply(CosignerReply, frozen=True, tag="prepared"):
    """The new half's public key, and the difference (a secret of signer A and the co-signer)."""

    half_b: B32
    difference: B32


class KeyLogReply(CosignerReply, frozen=True, tag="log-is"):
    """A page, the number of the log's last row, the operator's stop if there is one, and the uses of today (UTC).

    ``readings`` are the reading grants that are open at this moment.
    """

    entries: list[LogEntry]
    head: RowNumber
    stopped_at: int
    stop_reason: str
    today: dict[str, int]
    readings: list[ReadingEntry] = []


_OfLife = (
    PingRequest
    | ChallengeRequest
    | CreateHalfRequest
    | ImportHalfRequest
    | EncryptionKeyRequest
    | ImportSealedHalfRequest
    | KeyStateRequest
    | StopKeyRequest
    | EnableKeyRequest
    | ForgetKeyRequest
    | KeepKeyRequest
    | WithdrawHalfRequest
)
_OfUse = (
    PartialSignatureRequest
    | EcdhRequest
    | AdmitAppRequest
    | EndAppRequest
    | PrepareRefreshRequest
    | CommitRefreshRequest
    | FinishRefreshRequest
)
_OfReading = OpenReadingRequest | ReadRequest | EndReadingRequest
AnyRequest = (
    _OfLife
    | _OfUse
    | _OfReading
    | RegisterAuthoriserRequest
    | AuthorisersRequest
    | AddAuthoriserRequest
    | RefuseAuthoriserRequest
    | SettleAuthoriserRequest
    | KeyLogRequest
)
AnyReply = (
    CosignerDoneReply
    | CosignerRefusedReply
    | ChallengeReply
    | HalfReply
    | EncryptionKeyReply
    | KeyStateReply
    | AuthorisersReply
    | AuthoriserWaitsReply
    | PartialSignatureReply
    | EcdhReply
    | ReadReply
    | PrepareRefreshReply
    | KeyLogReply
)

encode: Final = msgspec.msgpack.Encoder().encode
decode_request: Final = msgspec.msgpack.Decoder(AnyRequest).decode
decode_reply: Final = msgspec.msgpack.Decoder(AnyReply).decode
