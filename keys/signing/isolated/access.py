"""The signer as the rest of this process sees it, where it is a process of its own: a Signer, a KeyMaker, a vault."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from functools import cache
from typing import Any, Final
from uuid import UUID

from keycast.base.errors import KeycastError
from keycast.crypto.errors import CryptoError
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes, wipe_bytes
from keycast.nostr.nip01 import UnsignedEvent
from keys.errors import InvalidOperand, KeyDamaged, SecretRefused
from keys.refs import Capabilities, KeyRef, SealedSecret, SecretPurpose, TransportRef
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.messages import AskedUse, EventBody
from keys.signing.envelope import SealingContext
from keys.signing.half import SealedHalf
from keys.signing.isolated import messages
from keys.signing.isolated.client import EXPORT_WITHIN, FORGET_WITHIN, SPLIT_WITHIN, SignerClient
from keys.signing.isolated.messages import SignerDoneReply, StatusReply
from keys.signing.protocol import KekState, KeyMaker, NewKey, Signer, SplitKey
from keys.signing.sealed_halves import PageKey, SealedHalves
from keys.signing.transport import OpenTransportKey
from keys.signing.vault import OpenKeyVault

logger = logging.getLogger(__name__)
STATUS_WITHIN: Final = 1.0
_STATUS_KEPT: Final = 1.0
_told: set[asyncio.Task[None]] = set()


@cache
def client() -> SignerClient:
    """The one way to the signer of this process."""
    return SignerClient()


class RemoteSigner:
    """A Signer (keys.signing.protocol): carries every use to the signer. ``client`` may be another one, in tests."""

    def __init__(self, way: SignerClient) -> None:
        self._client = way

    def capabilities(self, key: KeyRef) -> Capabilities:
        from keys.signing.factory import capabilities_of  # noqa: PLC0415 -- it makes this signer

        return capabilities_of(key.key_mode, key.hsm_provider)

    async def sign_event_id(
        self, key: KeyRef, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None = None
    ) -> bytes:
        body = EventBody.of(event)
        signed = await self._client.ask(
            lambda number: messages.SignEventRequest(number, key, body, event_id, asked), messages.SignatureReply
        )
        return signed.signature

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        if len(text) > messages.MAX_TEXT or len(peer) > 64 or len(client) > 64:
            raise InvalidOperand
        used = await self._client.ask(
            lambda number: messages.CipherRequest(number, key, method, peer, text, client, asked), messages.CipherReply
        )
        return used.text

    def forget(self, key_id: UUID) -> None:
        """Have the signer wipe what it keeps open. Best effort: its lease ends by itself."""
        forget_in_signer(self._client, key_id)

    def forget_all(self) -> None:
        """The same of every key."""
        forget_in_signer(self._client, None)


def forget_in_signer(way: SignerClient, key_id: UUID | None) -> None:
    """Tell the signer to forget; from an event loop without waiting for it. Never raises."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            way.ask_now(lambda number: messages.ForgetOpenKeysRequest(number, key_id), SignerDoneReply, FORGET_WITHIN)
        except KeycastError as error:
            _not_told(error)
        return
    task = asyncio.create_task(
        _quietly(way.ask(lambda number: messages.ForgetOpenKeysRequest(number, key_id), SignerDoneReply, FORGET_WITHIN))
    )
    _told.add(task)
    task.add_done_callback(_told.discard)


async def _quietly(telling: Coroutine[Any, Any, SignerDoneReply]) -> None:
    try:
        await telling
    except KeycastError as error:
        _not_told(error)


def _not_told(error: KeycastError) -> None:
    logger.warning("the signer was not told to forget; its lease ends by itself", extra={"code": error.code})


class RemoteKeyMaker:
    """A KeyMaker (keys.signing.protocol) for services and jobs: everything is done, and sealed, in the signer."""

    def __init__(self, way: SignerClient) -> None:
        self._client = way

    def generate(self, *, tenant_id: UUID, row_id: UUID, parent_id: UUID | None, purpose: SecretPurpose) -> NewKey:
        made = self._client.ask_now(
            lambda number: messages.GenerateKeyRequest(number, tenant_id, row_id, parent_id, purpose),
            messages.NewKeyReply,
        )
        return NewKey(made.public_key, made.sealed)

    def adopt(self, secret: SecretBytes, *, tenant_id: UUID, row_id: UUID, purpose: SecretPurpose) -> NewKey:
        given = self._checked(secret)
        try:
            made = self._client.ask_now(
                lambda number: messages.ImportKeyRequest(number, given, tenant_id, row_id, purpose),
                messages.NewKeyReply,
            )
        finally:
            wipe_bytes(given)
        return NewKey(made.public_key, made.sealed)

    def public_key_of(self, secret: SecretBytes) -> str:
        """Computed here: whoever asks has the secret already, and it need not travel for that."""
        try:
            with Keypair.from_secret(secret) as keypair:
                return keypair.public_key_hex
        except CryptoError:
            raise SecretRefused from None

    def rewrap(self, sealed: SealedSecret, place: SealingContext) -> SealedSecret:
        return self._client.ask_now(
            lambda number: messages.RewrapRequest(number, sealed, place), messages.SealedSecretReply
        ).sealed

    def split(self, sealed: SealedSecret, place: SealingContext) -> SplitKey:
        return self._client.ask_now(
            lambda number: messages.SplitKeyRequest(number, sealed, place), messages.SplitKeyReply
        ).split

    def split_secret(self, secret: SecretBytes, *, tenant_id: UUID, key_id: UUID) -> SplitKey:
        given = self._checked(secret)
        try:
            return self._client.ask_now(
                lambda number: messages.SplitImportedKeyRequest(number, given, tenant_id, key_id),
                messages.SplitKeyReply,
            ).split
        finally:
            wipe_bytes(given)

    def hand_over(self, split: SplitKey, *, tenant_id: UUID, key_id: UUID, public_key: str) -> None:
        whole = bytes.fromhex(public_key)
        self._client.ask_now(
            lambda number: messages.HandOverHalfRequest(number, split, tenant_id, key_id, whole),
            SignerDoneReply,
            SPLIT_WITHIN,
        )

    def draw_page_key(self, *, tenant_id: UUID, key_id: UUID) -> PageKey:
        return self._client.ask_now(
            lambda number: messages.DrawPageKeyRequest(number, tenant_id, key_id), messages.PageKeyReply
        ).page_key

    def take_half(self, halves: SealedHalves) -> SealedHalf:
        return self._client.ask_now(
            lambda number: messages.TakeSealedHalfRequest(number, halves), messages.SealedHalfReply
        ).half

    def draw_half(self, *, tenant_id: UUID, key_id: UUID) -> SealedHalf:
        return self._client.ask_now(
            lambda number: messages.DrawHalfRequest(number, tenant_id, key_id), messages.SealedHalfReply
        ).half

    def agree(self, key: KeyRef, new: SealedHalf, grant: UseAuthorisation) -> tuple[bytes, bytes]:
        agreed = self._client.ask_now(
            lambda number: messages.AgreeRefreshRequest(number, key, new, grant),
            messages.AgreeRefreshReply,
            SPLIT_WITHIN,
        )
        return agreed.half_b, agreed.tweak

    def kek_state(self, tenant_id: UUID, provider: str = "") -> KekState:
        found = self._client.ask_now(
            lambda number: messages.KekVersionsRequest(number, tenant_id, provider), messages.KekVersionsReply
        )
        return KekState(found.provider, found.current)

    def _checked(self, secret: SecretBytes) -> bytes:
        """A copy for the wire, of a secret that is one; its caller wipes it."""
        self.public_key_of(secret)
        return bytes(secret.view())


class TransportVault(OpenKeyVault[OpenTransportKey]):
    """Open remote-signer keys of this process, fetched from the signer, kept for the lease."""

    way: SignerClient | None = None

    async def open(self, sealed: SealedSecret, place: SealingContext) -> OpenTransportKey:
        """See Vault; raises SignerUnavailable too. One question for all who wait for the same key."""
        if not self._cache.keeps:
            return await self._fetched(sealed, place)
        return await self._in_flight(lambda: self._fetched(sealed, place), sealed, place)

    async def _fetched(self, sealed: SealedSecret, place: SealingContext) -> OpenTransportKey:
        ticket = self._cache.ticket(place.row_id)
        if place.parent_id is None:
            raise KeyDamaged
        ref = TransportRef(place.tenant_id, place.row_id, place.parent_id, place.public_key, sealed)
        try:
            answer = await (self.way or client()).ask(
                lambda number: messages.OpenTransportKeyRequest(number, ref), messages.OpenedTransportKeyReply
            )
        except KeyDamaged:
            self._cache.forget(place.row_id)
            raise
        with SecretBytes.adopt_bytes(answer.secret) as secret:
            return self._keep(_keypair_of(secret, place), place, ticket)


def _keypair_of(secret: SecretBytes, place: SealingContext) -> Keypair:
    """Checked here as well: the signer is believed no more than a row is."""
    try:
        keypair = Keypair.from_secret(secret)
    except CryptoError:
        raise KeyDamaged from None
    if keypair.public_key_hex != place.public_key:
        keypair.wipe()
        raise KeyDamaged
    return keypair


def signers(served: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Signer]:
    """One signer for every mode and provider of this deployment."""
    remote = RemoteSigner(client())
    return dict.fromkeys(served, remote)


def key_maker() -> KeyMaker:
    """What makes and adopts keys."""
    return RemoteKeyMaker(client())


def check_personal(key: KeyRef) -> None:
    """See keys.signing.inspection."""
    client().ask_now(lambda number: messages.CheckKeyRequest(number, key), SignerDoneReply)


def check_transport(ref: TransportRef) -> None:
    """See keys.signing.inspection."""
    client().ask_now(lambda number: messages.CheckTransportKeyRequest(number, ref), SignerDoneReply)


def export(key: KeyRef, password: str) -> str:
    """See keys.signing.exporting."""
    asked = client().ask_now(
        lambda number: messages.ExportKeyRequest(number, key, password), messages.ExportedKeyReply, EXPORT_WITHIN
    )
    return asked.ncryptsec


def status(within: float = STATUS_WITHIN) -> StatusReply:
    """The signer as it says it is. Raises SignerUnavailable."""
    return client().ask_now(messages.StatusRequest, StatusReply, within)


_seen: list[tuple[float, str]] = []


def kek_problem() -> str:
    """Why nothing can be sealed now; asked for pages, so an answer is good for a second."""
    now = time.monotonic()
    if _seen and now - _seen[0][0] < _STATUS_KEPT:
        return _seen[0][1]
    try:
        problem = status().problem
    except KeycastError as error:
        problem = error.public_message
    _seen[:] = [(time.monotonic(), problem)]
    return problem
