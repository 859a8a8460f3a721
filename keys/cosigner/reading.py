"""Reading grants: one HSM signature opens joint Diffie-Hellman of one key for one app, for a time and a number of uses.

NIP-17 sends each message from a key of its own, so an authorisation for each peer is an HSM operation for each message.
A grant is worth more to somebody who has taken signer A over than one authorisation is. So it is bounded by this side's
own limits, every use is counted on disk before it leaves (the operator's budgets hold over a restart), the operator's
stop is asked at every use, and whatever changes the key ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from keycast.audit.tags import AuditOutcome
from keycast.crypto import split
from keycast.crypto.schnorr import is_public_key
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.held_keys import CosignerKeyRepository, wipe_unless_kept
from keys.cosigner.open_readings import OpenReading, ReadingLimits
from keys.cosigner.records import CosignerHalf
from keys.cosigner.store import CosignerRefusalError
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.messages import AnyReply, RefusalCode

logger = logging.getLogger(__name__)
CLOCK: Final = "clock"
OPERATOR: Final = "operator"
"""Who it was, for the log."""


class ReadingHandler:
    """One grant at most for each key and app: a new one takes the place of the one before."""

    def __init__(self, repository: CosignerKeyRepository, limits: ReadingLimits) -> None:
        self._repository, self._limits = repository, limits
        self._readings = repository.readings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self, request: messages.OpenReadingRequest, peer: str) -> AnyReply:
        """The HSM has signed for this app, this time and this number of uses."""
        record = await self._repository.in_use(request)
        is_too_wide = request.seconds > self._limits.seconds or request.uses > self._limits.uses
        if is_too_wide or self._readings.is_held(request.key, request.client):
            raise CosignerRefusalError(RefusalCode.READING_REFUSED)
        subject = authorisation.reading(request.client, request.seconds, request.uses)
        self._repository.use_up(record, AuthorisationPurpose.READ, subject, request.grant)
        self._loop = asyncio.get_running_loop()
        # More than one may be opened at once, by several processes of signer A's.
        while (before := self._readings.find(request.key, request.client)) is not None:
            await self._end([before], peer, "replaced")
        reading = OpenReading(
            request.tenant,
            request.key,
            request.client,
            request.seconds,
            request.uses,
            self._readings.now() + request.seconds,
        )
        # Among the open ones before its row is: a stop that comes meanwhile finds it, and its end follows in the log.
        self._readings.add(reading)
        try:
            await self._repository.record(reading.opened_row(peer))
        except CosignerRefusalError:
            self._readings.remove(reading)
            raise
        await self._repository.in_use(request)
        self._require_open(reading)
        reading.is_recorded = True
        return messages.CosignerDoneReply(request.number)

    async def read(self, request: messages.ReadRequest, peer: str) -> AnyReply:
        """Contributions for some peers, each of them one use."""
        record = await self._repository.in_use(request)
        record.usable(request.half_a)
        if not all(map(is_public_key, request.peers)):
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        reading = await self._open_one(request)
        reading.used += len(request.peers)
        reading.under_way += 1
        try:
            await self._counted(reading, len(request.peers), peer)
            # Looked at again: the key may have been stopped while the disk was waited for, and with it the grant.
            half = (await self._repository.in_use(request)).usable(request.half_a)
            self._require_open(reading)
            self._readings.remember(reading, request.peers)
            points = await self._contributions(half, request.peers)
        finally:
            reading.under_way -= 1
        if reading.used >= reading.uses and not reading.under_way:
            await self._end([reading], peer, "used up")
        return messages.ReadReply(request.number, points)

    def is_open_for(self, request: messages.ReadRequest) -> bool:
        """Whether there is a grant that it may be under."""
        return self._readings.find(request.key, request.client) is not None

    async def end(self, request: messages.EndReadingRequest, peer: str) -> AnyReply:
        """Of one app, or of all; also of a key that is out of use. They get no other one before their time is up."""
        await self._repository.known(request)
        named = {request.client} if request.client else None
        found = self._readings.all_where(lambda r: r.key == request.key and (named is None or r.client in named))
        for reading in found:
            self._readings.hold(reading)
        await self._end(found, peer, "asked")
        return messages.CosignerDoneReply(request.number)

    async def end_overdue(self) -> None:
        """Those whose time is up, for the log; they serve nobody since it was."""
        await self._end(self._readings.all_where(self._readings.is_over), CLOCK, "time")

    async def end_all(self) -> None:
        """The process ends."""
        await self._end(self._readings.all_where(lambda _: True), CLOCK, "restart")

    def noticed(self, rows: Sequence[CosignerAuditEntry]) -> None:
        """Told by the store's thread of what is on disk: the operator's stop ends grants, also one soon lifted."""
        scopes = {str(row.data.get("scope")) for row in rows if row.tag is CosignerAuditTag.OPERATOR_STOPPED}
        if scopes and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped, scopes)

    def _stopped(self, scopes: set[str]) -> None:
        def is_stopped(reading: OpenReading) -> bool:
            return not scopes.isdisjoint({"all", f"tenant:{reading.tenant.hex()}", f"key:{reading.key.hex()}"})

        task = asyncio.ensure_future(self._end(self._readings.all_where(is_stopped), OPERATOR, "stopped"))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _open_one(self, request: messages.ReadRequest) -> OpenReading:
        """The grant that these uses are of. Raises Refusal."""
        reading = self._readings.find(request.key, request.client)
        if reading is not None and self._readings.is_over(reading):
            await self._end([reading], CLOCK, "time")
            reading = None
        if reading is None or not reading.is_recorded or reading.used + len(request.peers) > reading.uses:
            raise CosignerRefusalError(RefusalCode.NO_READING)
        return reading

    async def _counted(self, reading: OpenReading, times: int, peer: str) -> None:
        """The uses are counted on disk, unless the operator has stopped them or the day's budget is used up."""
        row = CosignerAuditEntry(CosignerAuditTag.CONTRIBUTED, AuditOutcome.OK, peer, reading.key.hex())
        try:
            await self._repository.store.write(lambda writing: writing.count(row, times))
        except CosignerRefusalError as refusal:
            reading.used -= times
            if refusal.code is RefusalCode.STOPPED_BY_OPERATOR:
                await self._end([reading], OPERATOR, "stopped")
            raise

    async def _contributions(self, half: CosignerHalf, peers: list[bytes]) -> list[bytes]:
        keypair, kept = await self._repository.open(half)
        points: list[bytes] = []
        try:
            for each in peers:
                with split.ecdh_contribution(keypair, half.aggregate, "B", each) as point:
                    points.append(bytes(point.view()))
        finally:
            wipe_unless_kept(keypair, kept)
        return points

    def _require_open(self, reading: OpenReading) -> None:
        if self._readings.find(reading.key, reading.client) is not reading:
            raise CosignerRefusalError(RefusalCode.NO_READING)

    async def _end(self, readings: Sequence[OpenReading], by: str, why: str) -> None:
        """At once; their rows follow."""
        ended = [reading.ended_row(by, why) for reading in readings if self._readings.remove(reading)]
        if not ended:
            return
        try:
            await self._repository.store.write(lambda writing: writing.notes.extend(ended))
        except CosignerRefusalError as refusal:  # the disk is full: they are over all the same
            logger.warning("reading grants ended without a row", extra={"code": refusal.code.value})
