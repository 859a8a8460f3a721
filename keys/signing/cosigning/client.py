"""Signer A's end: one connection an event loop, many requests at once, every wait bounded.

A method raises ``LostReply`` when it cannot know whether the co-signer acted. All but ``sign`` may simply be repeated;
``sign`` is repeated with fresh nonces on both sides, which its caller sees to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from keycast.base.service_status import pulse_of
from keycast.crypto.secret import SecretBytes, wipe_bytes
from keycast.nostr.nip01 import UnsignedEvent
from keys.signing.cosigning import address as addresses
from keys.signing.cosigning import messages
from keys.signing.cosigning.address import Address
from keys.signing.cosigning.authorisation import Grant
from keys.signing.cosigning.errors import CosignerBusy, CosignerMisbehaved, CosignerUnavailable, error_of
from keys.signing.cosigning.messages import (
    AnyReply,
    AuthorisersAre,
    Contribution,
    Done,
    EventBody,
    Made,
    Prepared,
    Refused,
    Request,
    Signed,
    StateIs,
)
from keys.signing.wire.frames import Frames
from keys.signing.wire.lines import Failures, Lines

T = TypeVar("T")
R = TypeVar("R", bound=messages.Reply)
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
        failures = Failures(LostReply, CosignerBusy)
        self._lines: Lines[AnyReply] = Lines(
            self._connect, messages.encode, messages.decode_reply, failures, MAX_AT_ONCE, pulse_of("Co-signer")
        )

    async def ping(self) -> None:
        """Raises CosignerUnavailable unless the co-signer answers."""
        nobody = UUID(int=0)
        await self._ask(messages.Ping(0, nobody.bytes, nobody.bytes), Done)

    async def create(self, tenant_id: UUID, key_id: UUID, half_a: bytes) -> bytes:
        """The public half B (33 bytes) beside this public half A (x-only, even Y). Repeatable."""
        made = await self._ask(messages.Create(0, tenant_id.bytes, key_id.bytes, half_a), Made)
        return b"\x02" + made.half_b

    async def adopt_half(
        self, tenant_id: UUID, key_id: UUID, half_a: bytes, half_b: SecretBytes, tweak: bytes, public_key: bytes
    ) -> bytes:
        """Hand half B of an imported key over, once; its public half (33 bytes). Repeatable."""
        secret = bytes(half_b.view())
        request = messages.Adopt(0, tenant_id.bytes, key_id.bytes, half_a, secret, tweak, public_key)
        try:
            return b"\x02" + (await self._ask(request, Made)).half_b
        finally:
            wipe_bytes(secret)

    async def register_authoriser(self, tenant_id: UUID, key_id: UUID, authoriser: bytes) -> None:
        """Tell the HSM's public key (33 bytes); from then on the key signs. Repeatable; never to another one."""
        await self._ask(messages.Register(0, tenant_id.bytes, key_id.bytes, authoriser), Done)

    async def authorisers(self, tenant_id: UUID, key_id: UUID) -> tuple[bytes, bytes]:
        """Whose authorisations hold: the present HSM key, and the one to take its place (33 bytes, or empty)."""
        found = await self._ask(messages.Authorisers(0, tenant_id.bytes, key_id.bytes), AuthorisersAre)
        return found.authoriser, found.coming

    async def succeed_authoriser(self, tenant_id: UUID, key_id: UUID, authoriser: bytes, grant: Grant) -> None:
        """Have another HSM key's authorisations accepted too; the present one has signed the grant. Repeatable."""
        await self._ask(messages.Succeed(0, tenant_id.bytes, key_id.bytes, authoriser, grant), Done)

    async def settle_authoriser(self, tenant_id: UUID, key_id: UUID, authoriser: bytes) -> None:
        """Have this one's alone accepted, of the two. Repeatable."""
        await self._ask(messages.Settle(0, tenant_id.bytes, key_id.bytes, authoriser), Done)

    async def sign(
        self,
        tenant_id: UUID,
        key_id: UUID,
        half_a: bytes,
        event: UnsignedEvent,
        event_id: bytes,
        authorisation: bytes,
        nonce_a: bytes,
    ) -> tuple[bytes, bytes]:
        """The co-signer's public nonce (66 bytes) and partial signature (32 bytes). Raises LostReply."""
        body = EventBody.of(event)
        request = messages.Sign(0, tenant_id.bytes, key_id.bytes, half_a, body, event_id, authorisation, nonce_a)
        signed = await self._ask(request, Signed)
        return signed.nonce_b, signed.partial

    async def ecdh(self, tenant_id: UUID, key_id: UUID, half_a: bytes, peer: bytes, grant: Grant) -> SecretBytes:
        """The co-signer's contribution (33 bytes)."""
        request = messages.Ecdh(0, tenant_id.bytes, key_id.bytes, half_a, peer, grant)
        return SecretBytes.adopt_bytes((await self._ask(request, Contribution)).point)

    async def prepare_refresh(
        self, tenant_id: UUID, key_id: UUID, half_a: bytes, new_half_a: bytes, grant: Grant
    ) -> tuple[bytes, SecretBytes]:
        """The public new half B (x-only) and the co-signer's difference (32 bytes). Repeatable with a new grant."""
        request = messages.Prepare(0, tenant_id.bytes, key_id.bytes, half_a, new_half_a, grant)
        prepared = await self._ask(request, Prepared)
        return prepared.half_b, SecretBytes.adopt_bytes(prepared.difference)

    async def commit_refresh(self, tenant_id: UUID, key_id: UUID, new_half_a: bytes, tweak: bytes) -> None:
        """Old and new halves sign from now on. Repeatable."""
        await self._ask(messages.Commit(0, tenant_id.bytes, key_id.bytes, new_half_a, tweak), Done)

    async def finish_refresh(self, tenant_id: UUID, key_id: UUID, new_half_a: bytes) -> None:
        """The old half B is destroyed. Repeatable."""
        await self._ask(messages.Finish(0, tenant_id.bytes, key_id.bytes, new_half_a), Done)

    async def state(self, tenant_id: UUID, key_id: UUID) -> str:
        """The co-signer's state of the key: ``pending``, ``active``, ``locked``, ``disabled`` or ``forgotten``."""
        return (await self._ask(messages.State(0, tenant_id.bytes, key_id.bytes), StateIs)).state

    async def lock(self, tenant_id: UUID, key_id: UUID) -> None:
        """Refuse all use of the key until ``enable``. Repeatable."""
        await self._ask(messages.Stop(0, tenant_id.bytes, key_id.bytes, "locked"), Done)

    async def disable(self, tenant_id: UUID, key_id: UUID) -> None:
        """Take the key out of use until ``enable``. Repeatable."""
        await self._ask(messages.Stop(0, tenant_id.bytes, key_id.bytes, "disabled"), Done)

    async def enable(self, tenant_id: UUID, key_id: UUID, grant: Grant) -> None:
        """Serve the key again; needs the HSM's authorisation."""
        await self._ask(messages.Enable(0, tenant_id.bytes, key_id.bytes, grant), Done)

    async def forget(self, tenant_id: UUID, key_id: UUID) -> None:
        """Destroy the co-signer's halves. Repeatable."""
        await self._ask(messages.Forget(0, tenant_id.bytes, key_id.bytes), Done)

    async def withdraw(self, tenant_id: UUID, key_id: UUID, half_b: bytes) -> None:
        """Destroy this half (its public key, x-only) of a conversion that was given up, and no other. Repeatable."""
        await self._ask(messages.Withdraw(0, tenant_id.bytes, key_id.bytes, half_b), Done)

    async def close(self) -> None:
        """End this loop's connection."""
        await self._lines.close()

    async def _ask(self, request: Request, expected: type[R]) -> R:
        reply = await self._lines.ask(lambda number: msgspec.structs.replace(request, number=number), self._within)
        if isinstance(reply, Refused):
            raise error_of(reply.code)
        if not isinstance(reply, expected):
            raise CosignerMisbehaved
        return reply

    async def _connect(self, loop: asyncio.AbstractEventLoop, frames: Callable[[], Frames]) -> None:
        where = self._where()
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
    """Run ``work`` with a client of its own, for verbs and jobs that have no event loop. Waits for it."""

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
    with ThreadPoolExecutor(1) as pool:  # somebody called a verb from a coroutine
        return pool.submit(lambda: asyncio.run(run())).result()
