"""Has a user's HSM key sign for uses of the co-signer: each alone, or those that come together by one signature."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from keycast.base.errors import KeycastError
from keys.refs import HsmRef
from keys.signing.cosigning import authorisation, authorisation_tree
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.client import CosignerClient
from keys.signing.protocol import Authoriser

_BUSY_FOR: Final = 1.0
"""Seconds for which a key of which several authorisations came together is expected to go on so."""
_KEYS_KEPT: Final = 65_536


async def granted(
    cosigner: CosignerClient,
    authoriser: Authoriser,
    hsm: HsmRef,
    tenant_id: UUID,
    key_id: UUID,
    purpose: AuthorisationPurpose,
    subject: bytes,
) -> UseAuthorisation:
    """A fresh authorisation: one HSM operation. Raises what ``authoriser`` raises, and CosignerUnavailable."""
    challenge, salt = await cosigner.challenge(), authorisation.new_salt()
    digest = authorisation.digest(purpose, tenant_id, key_id, subject, challenge, salt)
    return UseAuthorisation(challenge, salt, await authoriser.authorise(hsm, digest))


Signed = tuple[bytes, bytes]
"""The signature, and the way from the digest to what was signed."""


@dataclass(slots=True)
class _WaitingGrants:
    """What waits for one HSM key in one event loop."""

    loop: asyncio.AbstractEventLoop
    digests: list[bytes] = field(default_factory=list)
    futures: list[asyncio.Future[Signed]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    under_way: int = 0
    """Authorisations that the HSM has been asked for."""
    most: int = 1
    """How many waited or were under way at once, lately."""
    sent_at: float = 0.0


class GrantCollector:
    """Collects authorisations of one HSM key for up to ``seconds`` (0: never), and has one signature made for them.

    One that comes alone never waits: only while the key signs already, or has just signed for several at once, others
    are waited for, and then no longer than until all are there that were lately. Used from any event loop.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._waiting: dict[tuple[int, str], _WaitingGrants] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.granted = 0
        """Authorisations that were given; with ``operations``, how many of them an HSM operation stands for."""
        self.operations = 0

    async def grant(
        self,
        authoriser: Authoriser,
        hsm: HsmRef,
        tenant_id: UUID,
        key_id: UUID,
        purpose: AuthorisationPurpose,
        subject: bytes,
        challenge: bytes,
    ) -> UseAuthorisation:
        """A fresh authorisation that names the co-signer's challenge. Raises what ``authoriser`` raises."""
        salt = authorisation.new_salt()
        digest = authorisation.digest(purpose, tenant_id, key_id, subject, challenge, salt)
        if self._seconds <= 0:
            signed = await self._one(authoriser, hsm, digest)
        else:
            signed = await self._together(authoriser, hsm, digest)
        self.granted += 1
        return UseAuthorisation(challenge, salt, *signed)

    async def _one(self, authoriser: Authoriser, hsm: HsmRef, digest: bytes) -> Signed:
        self.operations += 1
        return await authoriser.authorise(hsm, digest), b""

    async def _together(self, authoriser: Authoriser, hsm: HsmRef, digest: bytes) -> Signed:
        loop = asyncio.get_running_loop()
        place = id(loop), hsm.key_version
        waiting = self._waiting.get(place)
        # Another loop may get the name of one that has ended, whose timers never come.
        if waiting is None or waiting.loop is not loop:
            if len(self._waiting) >= _KEYS_KEPT:
                self._drop_idle()
            waiting = self._waiting[place] = _WaitingGrants(loop)
        if not waiting.digests and not waiting.under_way and not _is_busy(waiting):
            return await self._alone(waiting, authoriser, hsm, digest)
        future: asyncio.Future[Signed] = loop.create_future()
        waiting.digests.append(digest)
        waiting.futures.append(future)
        if len(waiting.digests) >= min(_expected(waiting), authorisation_tree.MAX_LEAVES):
            self._send(waiting, authoriser, hsm)
        elif waiting.timer is None:
            waiting.timer = loop.call_later(self._seconds, self._send, waiting, authoriser, hsm)
        return await future

    async def _alone(self, waiting: _WaitingGrants, authoriser: Authoriser, hsm: HsmRef, digest: bytes) -> Signed:
        waiting.under_way, waiting.most = 1, 1
        try:
            return await self._one(authoriser, hsm, digest)
        finally:
            waiting.under_way -= 1

    def _send(self, waiting: _WaitingGrants, authoriser: Authoriser, hsm: HsmRef) -> None:
        """One HSM operation for all that wait."""
        if waiting.timer is not None:
            waiting.timer.cancel()
            waiting.timer = None
        digests, futures = waiting.digests, waiting.futures
        waiting.digests, waiting.futures = [], []
        waiting.under_way += len(digests)
        # One that was waited for in vain is alone again.
        lately = waiting.most if _is_busy(waiting) and len(digests) > 1 else 1
        waiting.most, waiting.sent_at = max(lately, waiting.under_way), time.monotonic()
        # A task of its own: whoever of them is cancelled takes nothing away from the others.
        task = asyncio.get_running_loop().create_task(self._sign(waiting, authoriser, hsm, digests, futures))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sign(
        self,
        waiting: _WaitingGrants,
        authoriser: Authoriser,
        hsm: HsmRef,
        digests: list[bytes],
        futures: list[asyncio.Future[Signed]],
    ) -> None:
        try:
            root, paths = authorisation_tree.tree(digests) if len(digests) > 1 else (digests[0], [b""])
            signature, _ = await self._one(authoriser, hsm, root)
        except KeycastError as error:
            _tell(futures, error)
        except BaseException as error:
            _tell(futures, error)
            raise
        else:
            for future, path in zip(futures, paths, strict=True):
                if not future.done():
                    future.set_result((signature, path))
        finally:
            waiting.under_way -= len(digests)

    def _drop_idle(self) -> None:
        for place in [place for place, found in self._waiting.items() if not found.digests and not found.under_way]:
            del self._waiting[place]


def _is_busy(waiting: _WaitingGrants) -> bool:
    return waiting.most > 1 and time.monotonic() - waiting.sent_at < _BUSY_FOR


def _expected(waiting: _WaitingGrants) -> int:
    """How many will come, if those come again that came lately; more than can come where that is not known."""
    return waiting.most if _is_busy(waiting) else authorisation_tree.MAX_LEAVES


def _tell(futures: list[asyncio.Future[Signed]], error: BaseException) -> None:
    """Those that wait still; whose own request was cancelled has gone."""
    for future in futures:
        if not future.done():
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
