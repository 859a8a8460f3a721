"""Signer A of keys that are split: the HSM authorises, the co-signer signs its part, and this process its own.

Nothing whole exists here or anywhere: what is opened is half A. Each attempt to sign has an authorisation of its own
and draws fresh nonces on both sides, so a lost reply costs one more HSM operation and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from uuid import UUID

from keycast.crypto import musig, split
from keycast.crypto.errors import CryptoError, SecretWiped
from keycast.crypto.musig import MusigSession
from keycast.crypto.schnorr import is_public_key
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip44
from keycast.nostr.nip01 import UnsignedEvent
from keycast.nostr.types import is_hex
from keys.errors import InvalidOperand, KeyDamaged, KeyModeUnavailable, OpenKeyExpired
from keys.refs import Capabilities, HsmRef, KeyRef
from keys.signing.ciphers import Cipher, cipher_of
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.client import CosignerClient, LostReply
from keys.signing.cosigning.errors import AppNotAdmitted, CosignerMisbehaved, NoReading, StaleChallenge
from keys.signing.cosigning.granting import GrantCollector, granted
from keys.signing.cosigning.introductions import AppIntroductions
from keys.signing.cosigning.messages import AppRequest, AskedUse
from keys.signing.cosigning.reading import ReadingGrants, ReadingTerms
from keys.signing.half import OpenHalf, conversation_key, half_of
from keys.signing.opened_key import peer_bytes
from keys.signing.protocol import Authoriser
from keys.signing.vault import OpenKeyVault

# A reply may be lost with its connection, or a lease end in between: a second try helps, a third would not.
ATTEMPTS: Final = 2
_WORTH_ANOTHER: Final = (LostReply, StaleChallenge, SecretWiped, AppNotAdmitted)
_KEYS_KNOWN: Final = 65_536
NO_READING_GRANTS: Final = ReadingTerms()

ASKED_SENTENCE: Final = (
    "The second signer checks the request that your app itself signed, and notes which app asked. Whether it refuses "
    "what no app asked for is for its operator to set; it knows of your apps from this server."
)
CAPABILITIES: Final = Capabilities(
    name="HSM-authorised, split key",
    sign=True,
    ecdh=True,
    imports=True,
    sentences=(
        "Signs valid Nostr events, and reads and writes encrypted messages (NIP-04, NIP-44).",
        "The key is split between two separate signers and is never whole anywhere.",
        "Every signature has to be authorised by your own key in the HSM, which can be disabled, and which logs each "
        "authorisation; requests that come at the same moment share one.",
        "An app that opens many messages has that authorised once, for minutes; the key's page shows it, and ends it.",
        ASKED_SENTENCE,
        "An existing key (nsec) can be imported: it is split at once, by your browser where that runs scripts.",
        "Each signature takes a round trip to the HSM, usually 50 to 100 ms.",
    ),
)


class CosignedSigner:
    """A Signer (keys.signing.protocol) of mode ``hsm`` where the HSM authorises. ``authorisers`` by provider.

    ``collect`` is for how many seconds at most authorisations of one HSM key are collected; ``reading`` what is asked
    for where an app reads an inbox.
    """

    def __init__(
        self,
        vault: OpenKeyVault[OpenHalf],
        authorisers: Mapping[str, Authoriser],
        cosigner: CosignerClient,
        collect: float = 0.0,
        reading: ReadingTerms = NO_READING_GRANTS,
    ) -> None:
        self.grants, self.readings = GrantCollector(collect), ReadingGrants(cosigner, reading)
        self._introductions = AppIntroductions(cosigner)
        self._vault, self._authorisers, self._cosigner = vault, authorisers, cosigner
        # Not from zero: a process that is started again does not count the same again.
        self._attempts = time.time_ns()
        self._halves: dict[UUID, set[UUID]] = {}
        self._computing: dict[tuple[int, UUID, bytes], asyncio.Lock] = {}

    def capabilities(self, key: KeyRef) -> Capabilities:
        return CAPABILITIES

    async def sign_event_id(
        self, key: KeyRef, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None = None
    ) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            opened = await self._open(key)
            try:
                return await self._sign(key, opened, event, event_id, asked)
            except _WORTH_ANOTHER as failure:
                if not self._may_try_again(failure, attempt, key, asked):
                    raise _outcome(failure) from None
            finally:
                _let_go(opened)
        raise AssertionError("not reached")

    async def crypt(
        self, key: KeyRef, method: str, peer: str, text: str, client: str = "", asked: AskedUse | None = None
    ) -> str:
        cipher, by = cipher_of(method), _app(client, is_reading=method.endswith("_decrypt"), asked=asked)
        return await self._with_joint(key, peer, by, lambda joint: _applied(cipher, text, joint))

    def forget(self, key_id: UUID) -> None:
        self.readings.forget(key_id)
        for row_id in self._halves.pop(key_id, ()):
            self._vault.forget(row_id)

    def forget_all(self) -> None:
        self.readings.forget_all()
        self._halves.clear()
        self._vault.forget_all()

    def _may_try_again(self, failure: Exception, attempt: int, key: KeyRef, asked: AskedUse | None) -> bool:
        if isinstance(failure, AppNotAdmitted) and asked is not None:
            self._introductions.forget(key, asked)
        return attempt < ATTEMPTS

    async def _introduced(self, key: KeyRef, asked: AskedUse | None) -> AppRequest | None:
        """The app's request, when the co-signer has been told what the app may ask for. Before the HSM is asked."""
        if asked is None:
            return None
        await self._introductions.tell(key, asked)
        return asked.request

    async def _sign(
        self, key: KeyRef, opened: OpenHalf, event: UnsignedEvent, event_id: bytes, asked: AskedUse | None
    ) -> bytes:
        aggregate = opened.aggregate(key)
        request = await self._introduced(key, asked)
        # For each attempt anew: the co-signer may have used it up before its reply was lost.
        grant = await self._granted(key, AuthorisationPurpose.SIGN, event_id)
        # By bad randomness alone a second attempt would repeat the nonce, beside another one of the co-signer's choice.
        self._attempts += 1
        nonce, public = musig.make_nonce(opened.keypair, aggregate, event_id, self._attempts.to_bytes(32, "big"))
        try:
            half_a = opened.keypair.public_key
            answer = self._cosigner.sign(key.tenant_id, key.key_id, half_a, event, event_id, public, grant, request)
            nonce_b, partial_b = await answer
            try:
                session = MusigSession(aggregate, public, nonce_b, event_id)
            except CryptoError:
                raise CosignerMisbehaved from None
            # The whole signature is verified anyway. This tells a co-signer that misbehaves from a key that is
            # damaged.
            if not musig.verify_partial(session, "B", partial_b):
                raise CosignerMisbehaved
            # Unchecked here because SigningService verifies what every signer returns, exactly once.
            return musig.combine_unchecked(session, musig.partial_sign(nonce, session), partial_b)
        finally:
            nonce.wipe()

    async def _with_joint(self, key: KeyRef, peer: str, by: _App, operation: Callable[[SecretBytes], str]) -> str:
        """Run ``operation`` on the joint secret with ``peer``; what lies in the operands becomes one error."""
        point = _point(peer)
        for attempt in range(1, ATTEMPTS + 1):
            opened = await self._open(key)
            try:
                joint = opened.joint(peer)
                if joint is not None:
                    return _translated(operation, joint)
                return await self._with_new_joint(key, opened, point, by, operation)
            except _WORTH_ANOTHER as failure:
                if not self._may_try_again(failure, attempt, key, by.asked):
                    raise _outcome(failure) from None
            finally:
                _let_go(opened)
        raise AssertionError("not reached")

    async def _with_new_joint(
        self, key: KeyRef, opened: OpenHalf, point: bytes, by: _App, operation: Callable[[SecretBytes], str]
    ) -> str:
        """One authorisation for all who wait for the same joint secret, as long as it is kept."""
        peer, name = point.hex(), (id(asyncio.get_running_loop()), key.key_id, point)
        lock = self._computing.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                known = opened.joint(peer)
                if known is not None:
                    return _translated(operation, known)
                with await self._joint(key, opened, point, by) as joint:
                    opened.keep(peer, joint)
                    return _translated(operation, joint)
        finally:
            # Else somebody waits for it, and with a second lock two would ask the HSM for the same.
            if not lock.locked():
                self._computing.pop(name, None)

    async def _joint(self, key: KeyRef, opened: OpenHalf, point: bytes, by: _App) -> SecretBytes:
        aggregate = opened.aggregate(key)
        with (
            split.ecdh_contribution(opened.keypair, aggregate, "A", point) as own,
            await self._contribution(key, opened, point, by) as other,
        ):
            try:
                return split.combine_ecdh(own, other, aggregate, point)
            except SecretWiped:
                raise
            except CryptoError:
                raise CosignerMisbehaved from None

    async def _contribution(self, key: KeyRef, opened: OpenHalf, point: bytes, by: _App) -> SecretBytes:
        """The co-signer's: under the app's reading grant, or authorised for this peer alone."""
        ids, half_a = (key.tenant_id, key.key_id), opened.keypair.public_key
        # Where nothing may be kept open between two requests, nothing is asked for that lasts longer.
        if opened.is_kept and self.readings.serves(*ids, by.client, point, is_reading=by.is_reading):
            with suppress(NoReading):
                return await self.readings.contribution(
                    *ids, by.client, half_a, point, lambda subject: self._granted_alone(key, subject)
                )
        request = await self._introduced(key, by.asked)
        grant = await self._granted(key, AuthorisationPurpose.ECDH, point)
        return await self._cosigner.ecdh(*ids, half_a, point, grant, request)

    async def _granted_alone(self, key: KeyRef, subject: bytes) -> UseAuthorisation:
        """A reading grant has a signature of its own: the HSM's log shows it as what it is, one line."""
        authoriser, hsm = self._authoriser(key), _hsm_of(key)
        named = (key.tenant_id, key.key_id, AuthorisationPurpose.READ, subject)
        return await granted(self._cosigner, authoriser, hsm, *named)

    async def _granted(self, key: KeyRef, purpose: AuthorisationPurpose, subject: bytes) -> UseAuthorisation:
        authoriser, hsm = self._authoriser(key), _hsm_of(key)
        named = (key.tenant_id, key.key_id, purpose, subject, await self._cosigner.challenge())
        return await self.grants.grant(authoriser, hsm, *named)

    def _authoriser(self, key: KeyRef) -> Authoriser:
        authoriser = self._authorisers.get(key.hsm_provider)
        if authoriser is None:
            raise KeyModeUnavailable
        return authoriser

    async def _open(self, key: KeyRef) -> OpenHalf:
        half = half_of(key)
        place = half.place(key.tenant_id, key.key_id)
        opened = self._vault.cached(place.row_id, key.tenant_id, place.public_key)
        if opened is None or opened.keypair.is_wiped:
            # Bounded; it costs one opening for each key that is used again.
            if len(self._halves) >= _KEYS_KNOWN:
                self.forget_all()
            # While halves are refreshed there are two of one key, and forgetting the key means both.
            self._halves.setdefault(key.key_id, set()).add(place.row_id)
            opened = await self._vault.open(half.sealed, place)
        return opened


class _App(NamedTuple):
    """Who asks: the app's public key, empty where nobody knows it, whether it decrypts, and its own request."""

    client: bytes
    is_reading: bool
    asked: AskedUse | None


def _app(client: str, *, is_reading: bool, asked: AskedUse | None) -> _App:
    """A client that is no public key is none: its peers are authorised one by one."""
    return _App(bytes.fromhex(client) if is_hex(client, 32) else b"", is_reading, asked)


def _hsm_of(key: KeyRef) -> HsmRef:
    if key.hsm is None:
        raise KeyDamaged
    return key.hsm


def _outcome(failure: Exception) -> Exception:
    """A lease that ends twice within one request is told like any other that ended."""
    return OpenKeyExpired() if isinstance(failure, SecretWiped) else failure


def _point(peer: str) -> bytes:
    try:
        point = peer_bytes(peer)
    except CryptoError:
        raise InvalidOperand from None
    if not is_public_key(point):
        raise InvalidOperand
    return point


def _translated(operation: Callable[[SecretBytes], str], joint: SecretBytes) -> str:
    try:
        return operation(joint)
    except SecretWiped:
        raise
    except (CryptoError, nip44.Nip44Error, nip04.Nip04Error):
        raise InvalidOperand from None


def _let_go(opened: OpenHalf) -> None:
    if not opened.is_kept:
        opened.wipe()


def _applied(cipher: Cipher, text: str, joint: SecretBytes) -> str:
    if not cipher.has_conversation_key:
        return cipher.apply(text, joint)
    with conversation_key(joint) as key:
        return cipher.apply(text, key)
