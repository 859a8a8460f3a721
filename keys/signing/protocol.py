"""What a signer is. One implementation per key mode; nothing outside keys.signing knows which one serves a key.

A signer may live in this process, behind a socket, or in a device: every call is awaitable, none may block the
event loop, and an implementation that has all it needs at hand returns without suspending.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol
from uuid import UUID

from keycast.crypto.secret import SecretBytes
from keycast.nostr.nip01 import UnsignedEvent
from keys.errors import KeyDamaged
from keys.refs import Capabilities, HsmRef, KeyRef, SealedSecret, SecretPurpose, TransportRef
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.messages import AskedUse
from keys.signing.envelope import SealingContext
from keys.signing.half import SealedHalf
from keys.signing.sealed_halves import PageKey, SealedHalves

#: Told of stored material that failed its check: the personal key's id, and how it failed.
DamageReport = Callable[[UUID, KeyDamaged], Awaitable[None]]


class Signer(Protocol):
    """Uses personal keys of one mode and provider.

    Peers are 64 lower-case hex digits. Raises keys.errors only: ``NoCapability`` for what the mode cannot do,
    ``InvalidOperand`` for what does not encrypt or decrypt, ``KeyDamaged``, ``KekUnavailable``.
    """

    def capabilities(self, key: KeyRef) -> Capabilities:
        """What this key can do; no I/O."""
        ...

    async def sign_event_id(
        self, key: KeyRef, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None = None
    ) -> bytes:
        """A 64-byte BIP-340 signature of ``event_id`` (32 bytes, the NIP-01 id of ``event`` under this key).

        The event, and the app's request where an app asked, come along for signers that must see them. The caller
        verifies the result.
        """
        ...

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        """The payload of a plaintext, or the plaintext of a payload: ``method`` is one of nip46.CRYPT_METHODS.

        ``client`` is the public key (64 hex digits) of the app that asks, empty where it is not known: signers may
        have many uses of one app authorised at once. ``asked`` is its own request, for a split key.
        """
        ...

    def forget(self, key_id: UUID) -> None:
        """Wipe whatever is kept open for this key, now."""
        ...

    def forget_all(self) -> None:
        """Wipe everything kept open, now."""
        ...


class OpenTransport(Protocol):
    """An open remote-signer key: synchronous, thread-safe, good until its lease ends.

    Get it from ``TransportService.open`` directly before each run of calls, and do not keep it across an ``await``
    that may be long: after the lease every call raises ``OpenKeyExpired``.
    """

    public_key: str

    def decrypt(self, peer: str, payload: str) -> str:
        """The plaintext of a NIP-44 payload from ``peer``; ``InvalidOperand`` when it is not one."""
        ...

    def decrypt_nip04(self, peer: str, payload: str) -> str:
        """The plaintext of a NIP-04 payload from ``peer``; ``InvalidOperand`` when it is not one."""
        ...

    def conversation_with(self, peer: str) -> bytes:
        """A copy of the NIP-44 conversation key with ``peer`` (32 bytes), which the caller wipes."""
        ...

    def encrypt(self, peer: str, plaintext: str) -> str:
        """A NIP-44 payload for ``peer``."""
        ...

    def sign(self, event_id: bytes) -> bytes:
        """A 64-byte BIP-340 signature for a kind 24133 event; not verified again, see Keypair.sign_unchecked."""
        ...


class TransportOpener(Protocol):
    """Opens remote-signer keys."""

    async def open(self, ref: TransportRef) -> OpenTransport:
        """The open key; does not suspend while it is cached or its key-encryption key is local."""
        ...

    def forget(self, transport_id: UUID) -> None: ...

    def forget_all(self) -> None: ...


class NewKey(NamedTuple):
    """A key as it comes from its maker: public half in clear (64 hex digits), secret half sealed."""

    public_key: str
    sealed: SealedSecret


class SplitKey(NamedTuple):
    """A whole key as two halves, each public (x-only, 32 bytes, even Y) and sealed, and the public tweak (32 bytes).

    ``sealed_a`` is for keys.signing.half.sealing_context_of, ``sealed_b`` for ``parting_place_of``.
    """

    half_a: bytes
    sealed_a: SealedSecret
    half_b: bytes
    sealed_b: SealedSecret
    tweak: bytes


class KekState(NamedTuple):
    """A provider of key-encryption keys, and the version that it seals one tenant's fresh secrets under."""

    provider: str
    current: str


class Authoriser(Protocol):
    """Signs digests with a user's own HSM key: ECDSA over secp256k1 or P-256, as an authorisation to others."""

    @property
    def provider(self) -> str: ...

    async def authorise(self, hsm: HsmRef, digest: bytes) -> bytes:
        """``r ‖ s`` (64 bytes, low-S) over ``digest`` (32 bytes), verified under ``hsm.authoriser``.

        Answers within 5 s, whatever the HSM does. Raises keys.hsm_errors, and KeyDamaged when ``hsm`` is incomplete.
        """
        ...


class KeyMaker(Protocol):
    """Makes and adopts secrets, and hands back only sealed ones. May block: call it from a thread, not the loop."""

    def generate(self, *, tenant_id: UUID, row_id: UUID, parent_id: UUID | None, purpose: SecretPurpose) -> NewKey:
        """A fresh random key, sealed for the row that will hold it."""
        ...

    def adopt(self, secret: SecretBytes, *, tenant_id: UUID, row_id: UUID, purpose: SecretPurpose) -> NewKey:
        """An imported key, sealed for the row that will hold it. The caller still owns, and wipes, ``secret``."""
        ...

    def public_key_of(self, secret: SecretBytes) -> str:
        """The public key (64 hex digits) of a secret; ``SecretRefused`` when it is no valid scalar."""
        ...

    def rewrap(self, sealed: SealedSecret, place: SealingContext) -> SealedSecret:
        """The same secret sealed anew: by the provider, and under the version, that fresh secrets are sealed with now.

        It opens to the public key of ``place`` before, and again after. ``sealed`` stays as good as it was: whoever
        stores the new one replaces the old one in the same row, and nothing is lost if that does not happen. The data
        key is a new one too. Raises ``KeyDamaged`` (``KeyMismatch``) for what does not open, ``KekUnavailable``.
        """
        ...

    def split(self, sealed: SealedSecret, place: SealingContext) -> SplitKey:
        """Open a personal key, split it into halves drawn at random, and seal both: nothing open leaves the maker.

        ``sealed`` stays as good as it was; each call draws other halves. Raises ``KeyDamaged`` (``KeyMismatch``),
        ``KekUnavailable``. Whoever moves the maker out of this process carries this call and ``hand_over`` as they
        are: every argument and result is public or sealed.
        """
        ...

    def hand_over(self, split: SplitKey, *, tenant_id: UUID, key_id: UUID, public_key: str) -> None:
        """Open half B of a split key and give it to the co-signer, which keeps it under a key of its own. Repeatable.

        ``public_key`` (64 hex digits) is the whole key's. Needs a way to the co-signer, as signing does; waits for it.
        Raises as ``split``, and keys.signing.cosigning.errors.
        """
        ...

    def split_secret(self, secret: SecretBytes, *, tenant_id: UUID, key_id: UUID) -> SplitKey:
        """Like ``split``, for a key that is being imported. The caller still owns, and wipes, ``secret``.

        Raises ``SecretRefused``, ``KekUnavailable``.
        """
        ...

    def draw_page_key(self, *, tenant_id: UUID, key_id: UUID) -> PageKey:
        """An encryption key for the one import page that will make the key with this id; nothing open leaves."""
        ...

    def take_half(self, halves: SealedHalves) -> SealedHalf:
        """Open half A as a browser sealed it, and seal it for its row (``keys.signing.half``).

        Raises ``SealedHalfRefused`` unless everything that the page said is true, ``KekUnavailable``.
        """
        ...

    def draw_half(self, *, tenant_id: UUID, key_id: UUID) -> SealedHalf:
        """A fresh half A, sealed for ``keys.signing.half.sealing_context_of``; its point has an even Y."""
        ...

    def agree(self, key: KeyRef, new: SealedHalf, grant: UseAuthorisation) -> tuple[bytes, bytes]:
        """Have the co-signer draw its new half beside ``new``: its public half (x-only), and the tweak (32 bytes).

        With both, the new halves make ``key``'s public key. ``grant`` authorises it; repeatable with a new one. Opens
        the half that ``key`` has and the new one. Raises as ``hand_over``, ``KeyDamaged``.
        """
        ...

    def kek_state(self, tenant_id: UUID, provider: str = "") -> KekState:
        """A provider's current version for this tenant, by default the one's that seals now. Raises KekUnavailable."""
        ...
