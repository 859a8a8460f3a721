"""Signer A's end: one connection an event loop, many requests at once, every wait bounded.

A method raises ``LostReply`` when it cannot know whether the co-signer acted. Those that take a grant are repeated
with a fresh one, because a grant holds once; ``sign`` with fresh nonces on both sides too. The others may simply be
repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from keycast.base.service_status import status_of
from keycast.crypto.secret import SecretBytes, wipe_bytes
from keycast.nostr.nip01 import UnsignedEvent
from keys.signing.cosigning import address as addresses
from keys.signing.cosigning import messages
from keys.signing.cosigning.address import Address
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.errors import (
    CosignerBusy,
    CosignerMisbehaved,
    CosignerUnavailable,
    StaleChallenge,
    error_of,
)
from keys.signing.cosigning.messages import (
    NO_PROOF,
    AnyReply,
    AppAdmission,
    AppRequest,
    AuthorisersReply,
    AuthoriserWaitsReply,
    ChallengeReply,
    CosignerDoneReply,
    CosignerRefusedReply,
    CosignerRequest,
    EcdhReply,
    EncryptionKeyReply,
    EventBody,
    HalfReply,
    HsmProof,
    KeyLogReply,
    KeyStateReply,
    PartialSignatureReply,
    PrepareRefreshReply,
)
from keys.signing.sealed_halves import SplitStatement
from keys.signing.wire.frames import FrameProtocol
from keys.signing.wire.lines import ConnectionErrors, RequestConnections

T = TypeVar("T")
R = TypeVar("R", bound=messages.CosignerReply)
CONNECT_WITHIN: Final = 2.0
ANSWER_WITHIN: Final = 2.0
"""Seconds."""
MAX_AT_ONCE: Final = 200


class LostReply(CosignerUnavailable):
    """The connection ended or the time was up after the request was sent."""


class CosignerClient:
    """Everything that signer A asks of the co-signer. ``where`` is asked at each connection."""

    def __init__(self, where: Callable[[], Address] = addresses.from_settings, within: float = ANSWER_WITHIN) -> None:
        self._where, self._within = where, within
        self._challenge: tuple[bytes, float] | None = None
        failures = ConnectionErrors(LostReply, CosignerBusy)
        self._lines: RequestConnections[AnyReply] = RequestConnections(
            self._connect, messages.encode, messages.decode_reply, failures, MAX_AT_ONCE, status_of("Co-signer")
        )

    async def ping(self) -> None:
        """Raises CosignerUnavailable unless the co-signer answers."""
        nobody = UUID(int=0)
        await self._ask(messages.PingRequest(0, nobody.bytes, nobody.bytes), CosignerDoneReply)

    async def challenge(self) -> bytes:
        """What an authorisation has to name now (16 bytes); asked once for all who need it in the same minute."""
        # Several may ask at once when it has passed: each gets the same, and a lock would not be worth its bookkeeping.
        if self._challenge is None or self._challenge[1] <= time.monotonic():
            nobody = UUID(int=0).bytes
            asked = time.monotonic()
            reply = await self._ask(messages.ChallengeRequest(0, nobody, nobody), ChallengeReply)
            self._challenge = (reply.challenge, asked + reply.seconds)
            return reply.challenge
        return self._challenge[0]

    async def create(self, tenant_id: UUID, key_id: UUID, half_a: bytes) -> bytes:
        """The public half B (33 bytes) beside this public half A (x-only, even Y). Repeatable."""
        made = await self._ask(messages.CreateHalfRequest(0, tenant_id.bytes, key_id.bytes, half_a), HalfReply)
        return b"\x02" + made.half_b

    async def adopt_half(
        self, tenant_id: UUID, key_id: UUID, half_a: bytes, half_b: SecretBytes, tweak: bytes, public_key: bytes
    ) -> bytes:
        """Hand half B of an imported key over, once; its public half (33 bytes). Repeatable."""
        secret = bytes(half_b.view())
        request = messages.ImportHalfRequest(0, tenant_id.bytes, key_id.bytes, half_a, secret, tweak, public_key)
        try:
            return b"\x02" + (await self._ask(request, HalfReply)).half_b
        finally:
            wipe_bytes(secret)

    async def encryption_key(self, tenant_id: UUID, key_id: UUID) -> bytes:
        """What a browser seals half B to (65 bytes); another one after each start of the co-signer.

        The ids are those of the key to come: what one tenant's people ask for counts for that tenant.
        """
        request = messages.EncryptionKeyRequest(0, tenant_id.bytes, key_id.bytes)
        return (await self._ask(request, EncryptionKeyReply)).public

    async def adopt_sealed_half(self, said: SplitStatement, sealed_b: bytes) -> bytes:
        """Hand over half B as a browser sealed it; its public half (33 bytes). Once: a repetition is refused."""
        ids = said.tenant_id.bytes, said.key_id.bytes
        halves = said.half_a, said.half_b, said.tweak
        request = messages.ImportSealedHalfRequest(0, *ids, *halves, said.public_key, said.token, sealed_b)
        return b"\x02" + (await self._ask(request, HalfReply)).half_b

    async def register_authoriser(
        self, tenant_id: UUID, key_id: UUID, authoriser: bytes, proof: HsmProof = NO_PROOF
    ) -> None:
        """Tell the HSM's public key (33 bytes); from then on the key signs. Repeatable; never to another one.

        Raises AuthoriserUnproven where the co-signer wants to be shown that it is in an HSM.
        """
        request = messages.RegisterAuthoriserRequest(0, tenant_id.bytes, key_id.bytes, authoriser, proof)
        await self._ask(request, CosignerDoneReply)

    async def authorisers(self, tenant_id: UUID, key_id: UUID) -> tuple[bytes, bytes]:
        """Whose authorisations hold: the present HSM key, and the one beside it (33 bytes, or empty)."""
        found = await self.authoriser_state(tenant_id, key_id)
        return found.authoriser, found.coming

    async def authoriser_state(self, tenant_id: UUID, key_id: UUID) -> AuthorisersReply:
        """Whose authorisations hold, what shows that the present one is in an HSM, and who waits until when."""
        return await self._ask(messages.AuthorisersRequest(0, tenant_id.bytes, key_id.bytes), AuthorisersReply)

    async def succeed_authoriser(
        self, tenant_id: UUID, key_id: UUID, authoriser: bytes, grant: UseAuthorisation, proof: HsmProof = NO_PROOF
    ) -> int:
        """Have another HSM key's authorisations accepted too; the present one has signed the grant. Repeatable.

        0 when they are; else when they will be, if nobody refuses (Unix time in ms): ask again then. Raises
        AuthoriserUnproven, SuccessorRefused.
        """
        request = messages.AddAuthoriserRequest(0, tenant_id.bytes, key_id.bytes, authoriser, grant, proof)
        reply = await self._ask(request, CosignerDoneReply, AuthoriserWaitsReply)
        return reply.until if isinstance(reply, AuthoriserWaitsReply) else 0

    async def refuse_authoriser(self, tenant_id: UUID, key_id: UUID, authoriser: bytes) -> None:
        """Never have this one's authorisations accepted. Repeatable; CosignerRefused when it is too late."""
        request = messages.RefuseAuthoriserRequest(0, tenant_id.bytes, key_id.bytes, authoriser)
        await self._ask(request, CosignerDoneReply)

    async def settle_authoriser(self, tenant_id: UUID, key_id: UUID, authoriser: bytes) -> None:
        """Have this one's alone accepted, of the two. Repeatable."""
        await self._ask(
            messages.SettleAuthoriserRequest(0, tenant_id.bytes, key_id.bytes, authoriser), CosignerDoneReply
        )

    async def sign(
        self,
        tenant_id: UUID,
        key_id: UUID,
        half_a: bytes,
        event: UnsignedEvent,
        event_id: bytes,
        nonce_a: bytes,
        grant: UseAuthorisation,
        asked: AppRequest | None = None,
    ) -> tuple[bytes, bytes]:
        """The co-signer's public nonce (66 bytes) and partial signature (32 bytes). Raises LostReply."""
        body = EventBody.of(event)
        request = messages.PartialSignatureRequest(
            0, tenant_id.bytes, key_id.bytes, half_a, body, event_id, nonce_a, grant, asked
        )
        signed = await self._ask(request, PartialSignatureReply)
        return signed.nonce_b, signed.partial

    async def ecdh(
        self,
        tenant_id: UUID,
        key_id: UUID,
        half_a: bytes,
        peer: bytes,
        grant: UseAuthorisation,
        asked: AppRequest | None = None,
    ) -> SecretBytes:
        """The co-signer's contribution (33 bytes)."""
        request = messages.EcdhRequest(0, tenant_id.bytes, key_id.bytes, half_a, peer, grant, asked)
        return SecretBytes.adopt_bytes((await self._ask(request, EcdhReply)).point)

    async def open_reading(
        self, tenant_id: UUID, key_id: UUID, client: bytes, seconds: int, uses: int, grant: UseAuthorisation
    ) -> None:
        """Open a reading grant of this app; it takes the place of one that is open. Raises ReadingRefused."""
        request = messages.OpenReadingRequest(0, tenant_id.bytes, key_id.bytes, client, seconds, uses, grant)
        await self._ask(request, CosignerDoneReply)

    async def read(
        self, tenant_id: UUID, key_id: UUID, half_a: bytes, client: bytes, peers: Sequence[bytes]
    ) -> list[SecretBytes]:
        """The co-signer's contributions (33 bytes each) for up to MAX_PEERS peers. Raises NoReading, LostReply.

        A reading grant that has fewer uses left than there are peers counts as none.
        """
        request = messages.ReadRequest(0, tenant_id.bytes, key_id.bytes, half_a, client, list(peers))
        points = (await self._ask(request, messages.ReadReply)).points
        contributions = [SecretBytes.adopt_bytes(point) for point in points]
        if len(contributions) != len(peers):
            for contribution in contributions:
                contribution.wipe()
            raise CosignerMisbehaved
        return contributions

    async def end_reading(self, tenant_id: UUID, key_id: UUID, client: bytes = b"") -> None:
        """End this app's reading grant, or every app's. Repeatable."""
        await self._ask(messages.EndReadingRequest(0, tenant_id.bytes, key_id.bytes, client), CosignerDoneReply)

    async def admit_app(self, tenant_id: UUID, key_id: UUID, admission: AppAdmission) -> None:
        """Tell that an app may ask for this. Repeatable. Raises AppsClosedByCosigner."""
        await self._ask(messages.AdmitAppRequest(0, tenant_id.bytes, key_id.bytes, admission), CosignerDoneReply)

    async def end_app(self, tenant_id: UUID, key_id: UUID, client: bytes) -> None:
        """Tell that an app (its public key) may ask for nothing more. Repeatable."""
        await self._ask(messages.EndAppRequest(0, tenant_id.bytes, key_id.bytes, client), CosignerDoneReply)

    async def prepare_refresh(
        self, tenant_id: UUID, key_id: UUID, half_a: bytes, new_half_a: bytes, grant: UseAuthorisation
    ) -> tuple[bytes, SecretBytes]:
        """The public new half B (x-only) and the co-signer's difference (32 bytes). Repeatable with a new grant."""
        request = messages.PrepareRefreshRequest(0, tenant_id.bytes, key_id.bytes, half_a, new_half_a, grant)
        prepared = await self._ask(request, PrepareRefreshReply)
        return prepared.half_b, SecretBytes.adopt_bytes(prepared.difference)

    async def commit_refresh(self, tenant_id: UUID, key_id: UUID, new_half_a: bytes, tweak: bytes) -> None:
        """Old and new halves sign from now on. Repeatable."""
        await self._ask(
            messages.CommitRefreshRequest(0, tenant_id.bytes, key_id.bytes, new_half_a, tweak), CosignerDoneReply
        )

    async def finish_refresh(self, tenant_id: UUID, key_id: UUID, new_half_a: bytes) -> None:
        """The old half B is destroyed. Repeatable."""
        await self._ask(messages.FinishRefreshRequest(0, tenant_id.bytes, key_id.bytes, new_half_a), CosignerDoneReply)

    async def state(self, tenant_id: UUID, key_id: UUID) -> str:
        """The co-signer's state of the key, as ``messages.KeyStateReply`` has it."""
        return (await self._ask(messages.KeyStateRequest(0, tenant_id.bytes, key_id.bytes), KeyStateReply)).state

    async def lock(self, tenant_id: UUID, key_id: UUID) -> None:
        """Refuse all use of the key until ``enable``. Repeatable."""
        await self._ask(messages.StopKeyRequest(0, tenant_id.bytes, key_id.bytes, "locked"), CosignerDoneReply)

    async def disable(self, tenant_id: UUID, key_id: UUID) -> None:
        """Take the key out of use until ``enable``. Repeatable."""
        await self._ask(messages.StopKeyRequest(0, tenant_id.bytes, key_id.bytes, "disabled"), CosignerDoneReply)

    async def enable(self, tenant_id: UUID, key_id: UUID, grant: UseAuthorisation) -> None:
        """Serve the key again; needs the HSM's authorisation."""
        await self._ask(messages.EnableKeyRequest(0, tenant_id.bytes, key_id.bytes, grant), CosignerDoneReply)

    async def forget(self, tenant_id: UUID, key_id: UUID, named: bytes, grant: UseAuthorisation) -> None:
        """End the key of this public key, or with this half B: out of use at once, destroyed when its time has come.

        Raises StaleHalf when the key has other halves, TooManyForgets. Repeatable.
        """
        await self._ask(messages.ForgetKeyRequest(0, tenant_id.bytes, key_id.bytes, named, grant), CosignerDoneReply)

    async def keep(self, tenant_id: UUID, key_id: UUID) -> None:
        """Do not forget the key after all; it is disabled then. Repeatable."""
        await self._ask(messages.KeepKeyRequest(0, tenant_id.bytes, key_id.bytes), CosignerDoneReply)

    async def withdraw(self, tenant_id: UUID, key_id: UUID, half_b: bytes) -> None:
        """Destroy this half (its public key, x-only) of a key that was never in use, and no other. Repeatable."""
        await self._ask(messages.WithdrawHalfRequest(0, tenant_id.bytes, key_id.bytes, half_b), CosignerDoneReply)

    async def log(self, tenant_id: UUID, key_id: UUID, *, before: int = 0, limit: int = 50) -> KeyLogReply:
        """A page of the co-signer's log of one key, newest first, with the operator's stop and the uses of today."""
        request = messages.KeyLogRequest(0, tenant_id.bytes, key_id.bytes, before=before, limit=limit)
        return await self._ask(request, KeyLogReply)

    async def uses_after(self, sequence: int, limit: int = 200) -> KeyLogReply:
        """A page of the log's rows of uses, of every key, oldest first."""
        nobody = UUID(int=0).bytes
        request = messages.KeyLogRequest(0, nobody, nobody, after=sequence, is_oldest_first=True, limit=limit)
        return await self._ask(request, KeyLogReply)

    async def close(self) -> None:
        """End this loop's connection."""
        await self._lines.close()

    async def _ask(self, request: CosignerRequest, *expected: type[R]) -> R:
        reply = await self._lines.ask(lambda number: msgspec.structs.replace(request, number=number), self._within)
        if isinstance(reply, CosignerRefusedReply):
            error = error_of(reply.code)
            if isinstance(error, StaleChallenge):
                self._challenge = None
            raise error
        if not isinstance(reply, expected):
            raise CosignerMisbehaved
        return reply

    async def _connect(self, loop: asyncio.AbstractEventLoop, frames: Callable[[], FrameProtocol]) -> None:
        where = self._where()
        self._challenge = None  # a co-signer that was started again knows none of its earlier ones
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                if where.path is not None:
                    await loop.create_unix_connection(frames, str(where.path))
                else:
                    tls = where.tls.context(server=False) if where.tls else None
                    await loop.create_connection(frames, where.host, where.port, ssl=tls)
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            raise CosignerUnavailable from None


def blocking(work: Callable[[CosignerClient], Coroutine[Any, Any, T]], client: CosignerClient | None = None) -> T:
    """Run ``work`` with a client of its own, for services and jobs that have no event loop. Waits for it."""

    async def run() -> T:
        used = client or CosignerClient()
        try:
            return await work(used)
        finally:
            await used.close()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    with ThreadPoolExecutor(1) as pool:  # somebody called a service from a coroutine
        return pool.submit(lambda: asyncio.run(run())).result()
