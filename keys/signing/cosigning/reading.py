"""Signer A's side of reading grants: when an app is worth one, and its uses, which travel together.

Most apps open one or two conversations at a time: each of those is authorised by itself, as narrowly as can be, and one
live message of NIP-17 (the wrap's key and the sender's) stays so. An app that goes on to a third within FEW_WITHIN
seconds reads an inbox. For it the HSM is asked once, for a time and a number of uses; and again at once when that is
over, while it goes on reading without such a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keys.signing.cosigning.authorisation import UseAuthorisation, reading
from keys.signing.cosigning.client import CosignerClient
from keys.signing.cosigning.errors import CosignerBusy, NoReading, ReadingRefused
from keys.signing.cosigning.messages import MAX_PEERS

FEW: Final = 2
"""Peers that an app may meet within FEW_WITHIN without being taken for one that reads an inbox."""
FEW_WITHIN: Final = 30.0
REFUSED_FOR: Final = 60.0
"""Seconds after a refusal for which no other grant is asked for."""
MAX_WAITING: Final = 1000
_APPS_KEPT: Final = 8192

Grant = Callable[[bytes], Awaitable[UseAuthorisation]]
"""Has the key's HSM sign for this subject, alone."""


@dataclass(frozen=True, slots=True)
class ReadingTerms:
    """What is asked for: seconds and uses; with 0 uses every peer has an authorisation of its own."""

    seconds: int = 0
    uses: int = 0


@dataclass(slots=True, eq=False)
class _Reader:
    """One app at one key, in one event loop."""

    loop: asyncio.AbstractEventLoop
    tenant_id: UUID
    key_id: UUID
    client: bytes
    met: dict[bytes, float] = field(default_factory=dict)
    """The last few peers, and when: a request that is tried again meets nobody new."""
    reads_until: float = 0.0
    not_before: float = 0.0
    open_until: float = 0.0
    left: int = 0
    waiting: list[tuple[bytes, bytes, asyncio.Future[SecretBytes]]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class ReadingGrants:
    """Used from any event loop. The co-signer keeps the grants; here is remembered who is expected to have one."""

    def __init__(self, cosigner: CosignerClient, terms: ReadingTerms) -> None:
        self._cosigner, self._terms = cosigner, terms
        self._readers: dict[tuple[int, UUID, bytes], _Reader] = {}
        self.opened = 0
        """Grants that were opened: HSM operations."""

    def serves(self, tenant_id: UUID, key_id: UUID, client: bytes, peer: bytes, *, is_reading: bool) -> bool:
        """Whether this new peer of the app's goes under a reading grant; notes that it met one. ``client``: 32 bytes.

        Encryption uses a grant that is open and asks for none.
        """
        if self._terms.uses < 1 or self._terms.seconds < 1 or len(client) != 32:
            return False
        reader, now = self._reader(tenant_id, key_id, client), time.monotonic()
        if now < reader.not_before:
            return False
        if reader.open_until > now and reader.left > 0:
            return True
        if not is_reading:
            return False
        reader.met = {met: at for met, at in reader.met.items() if now - at < FEW_WITHIN}
        # Not beyond one more than FEW: it says enough.
        if len(reader.met) <= FEW:
            reader.met[peer] = now
        return len(reader.met) > FEW or now < reader.reads_until

    async def contribution(
        self, tenant_id: UUID, key_id: UUID, client: bytes, half_a: bytes, peer: bytes, grant: Grant
    ) -> SecretBytes:
        """The co-signer's contribution (33 bytes) under the app's reading grant, which is opened where there is none.

        Raises NoReading where the co-signer allows none: then authorise this peer by itself. Else as ``grant`` does,
        and LostReply.
        """
        reader = self._reader(tenant_id, key_id, client)
        if len(reader.waiting) >= MAX_WAITING:
            raise CosignerBusy
        future: asyncio.Future[SecretBytes] = reader.loop.create_future()
        reader.waiting.append((half_a, peer, future))
        # A task of its own: whoever of them is cancelled takes nothing away from the others.
        if reader.task is None or reader.task.done():
            reader.task = reader.loop.create_task(self._serve(reader, grant))
        return await future

    def forget(self, key_id: UUID) -> None:
        """The key was stopped, and with it its grants at the co-signer: the next peers are met as the first ones."""
        for place in [place for place in self._readers if place[1] == key_id]:
            self._drop(place)

    def forget_all(self) -> None:
        """The same of every key."""
        for place in list(self._readers):
            self._drop(place)

    def _drop(self, place: tuple[int, UUID, bytes]) -> None:
        reader = self._readers[place]
        if reader.waiting or (reader.task is not None and not reader.task.done()):
            reader.met, reader.reads_until, reader.open_until, reader.left = {}, 0.0, 0.0, 0
        else:
            del self._readers[place]

    def _reader(self, tenant_id: UUID, key_id: UUID, client: bytes) -> _Reader:
        loop = asyncio.get_running_loop()
        place = id(loop), key_id, client
        reader = self._readers.get(place)
        # Another loop may get the name of one that has ended.
        if reader is None or reader.loop is not loop:
            if len(self._readers) >= _APPS_KEPT:
                self.forget_all()
            reader = self._readers[place] = _Reader(loop, tenant_id, key_id, client)
        return reader

    async def _serve(self, reader: _Reader, grant: Grant) -> None:
        """Whoever comes while a request is under way goes with the next one: nobody waits for company."""
        while reader.waiting:
            half_a = reader.waiting[0][0]
            batch = [waiting for waiting in reader.waiting if waiting[0] == half_a][:MAX_PEERS]
            try:
                batch = batch[: await self._room(reader, grant)]
                parts = await self._read(reader, half_a, [peer for _, peer, _ in batch], grant)
            except KeycastError as error:
                _take(reader, batch)
                _tell(batch, error)
            except BaseException as error:
                for waiting in (batch, reader.waiting):
                    _tell(waiting, error)
                reader.waiting = []
                raise
            else:
                _take(reader, batch)
                for (_, _, future), part in zip(batch, parts, strict=True):
                    if future.done():
                        part.wipe()
                    else:
                        future.set_result(part)

    async def _room(self, reader: _Reader, grant: Grant) -> int:
        """How many uses the open grant has left, of a new one if there is none."""
        if reader.left < 1 or time.monotonic() >= reader.open_until:
            await self._open(reader, grant)
        return reader.left

    async def _open(self, reader: _Reader, grant: Grant) -> None:
        now, terms = time.monotonic(), self._terms
        named = reader.client, terms.seconds, terms.uses
        self.opened += 1
        try:
            signed = await grant(reading(*named))
            await self._cosigner.open_reading(reader.tenant_id, reader.key_id, *named, signed)
        except ReadingRefused:
            reader.not_before = now + REFUSED_FOR
            raise NoReading from None
        # From before it was asked: here it never lasts longer than there.
        reader.open_until, reader.left = now + terms.seconds, terms.uses

    async def _read(self, reader: _Reader, half_a: bytes, peers: Sequence[bytes], grant: Grant) -> list[SecretBytes]:
        named = reader.tenant_id, reader.key_id, half_a, reader.client
        reader.left -= len(peers)
        reader.reads_until = time.monotonic() + FEW_WITHIN
        try:
            return await self._cosigner.read(*named, peers)
        except NoReading:
            # It was ended there, or another process of ours has used it too. Once: it may be ended again and again.
            await self._open(reader, grant)
            reader.left -= len(peers)
            return await self._cosigner.read(*named, peers)


def _take(reader: _Reader, batch: list[tuple[bytes, bytes, asyncio.Future[SecretBytes]]]) -> None:
    answered = {id(future) for _, _, future in batch}
    reader.waiting = [waiting for waiting in reader.waiting if id(waiting[2]) not in answered]


def _tell(batch: list[tuple[bytes, bytes, asyncio.Future[SecretBytes]]], error: BaseException) -> None:
    """Those that wait still; whose own request was cancelled has gone."""
    for _, _, future in batch:
        if not future.done():
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
