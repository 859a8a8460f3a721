"""Signer B. It checks everything itself and trusts neither signer A nor whoever controls it.

Each request: the key is this tenant's and in use, the limits allow it, the event is what its id says, and the user's
own HSM key has signed for exactly this. Only then, and only when the audit row is on disk, is the half used.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from keycast.audit.tags import Outcome
from keycast.crypto.errors import CryptoError
from keys.cosigner.audit import Note, Tag
from keys.cosigner.authorisers import Authorisers
from keys.cosigner.half_refresh import Renewing
from keys.cosigner.held_keys import Desk
from keys.cosigner.key_lifecycle import Life
from keys.cosigner.key_use import Using
from keys.cosigner.limits import Buckets
from keys.cosigner.store import Refusal, Store
from keys.errors import KekUnavailable, KeyDamaged
from keys.signing.cosigning import messages
from keys.signing.cosigning.messages import AnyReply, Code, Request
from keys.signing.kms.protocol import KekProvider
from keys.signing.opened_key import OpenKey
from keys.signing.vault import Vault

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Requests a second, and how many at once: for one key, and for one tenant."""

    key: tuple[float, float] = (50, 200)
    tenant: tuple[float, float] = (1000, 2000)


class Cosigner:
    """Answers requests; each room does its part of them. Used from one event loop."""

    def __init__(self, store: Store, vault: Vault[OpenKey], kek: Callable[[], KekProvider], limits: Limits) -> None:
        self._store = store
        self._key_limit, self._tenant_limit = Buckets(*limits.key), Buckets(*limits.tenant)
        self.refusals: Counter[str] = Counter()
        self._handlers = _handlers(Desk(store, vault, kek))

    async def answer(self, request: Request, peer: str) -> AnyReply:
        """The reply to one request of ``peer`` (how the log names it); a refusal is a reply."""
        try:
            self._limit(request)
            return await self._handlers[type(request)](request, peer)
        except Refusal as refusal:
            return await self._refused(request, peer, refusal.code)
        except CryptoError:
            return await self._refused(request, peer, Code.MALFORMED)
        except (KekUnavailable, KeyDamaged) as error:
            logger.error("a half cannot be opened: %s", error.code)
            return await self._refused(request, peer, Code.UNAVAILABLE)

    def _limit(self, request: Request) -> None:
        # The tenant's comes first: made-up key ids cannot push out more of the keys' buckets than that allows.
        if not (self._tenant_limit.take(request.tenant) and self._key_limit.take(request.key)):
            raise Refusal(Code.RATE_LIMITED)

    async def _refused(self, request: Request, peer: str, code: Code) -> AnyReply:
        self.refusals[code] += 1
        # These say nothing of the request, and come in floods when something is wrong; each row is a wait for the
        # disk.
        if code not in {Code.RATE_LIMITED, Code.BUSY, Code.UNAVAILABLE}:
            asked = type(request).__struct_config__.tag
            note = Note(
                Tag.REFUSED, Outcome.DENIED, peer, request.key.hex(), data={"reason": code.value, "request": asked}
            )
            try:
                await self._store.write(lambda writing: writing.note(note))
            except Refusal:
                code = Code.UNAVAILABLE  # what cannot be recorded is not told either
        return messages.Refused(request.number, code.value)


def _handlers(desk: Desk) -> dict[type, Callable[[Any, str], Awaitable[AnyReply]]]:
    """Which room does what."""
    life, using, renewing, authorisers = Life(desk), Using(desk), Renewing(desk), Authorisers(desk)
    return {
        messages.Ping: _ping,
        messages.Create: life.create,
        messages.Adopt: life.adopt,
        messages.State: life.state,
        messages.Stop: life.stop,
        messages.Enable: life.enable,
        messages.Forget: life.forget,
        messages.Withdraw: life.withdraw,
        messages.Sign: using.sign,
        messages.Ecdh: using.ecdh,
        messages.Prepare: renewing.prepare,
        messages.Commit: renewing.commit,
        messages.Finish: renewing.finish,
        messages.Register: authorisers.register,
        messages.Authorisers: authorisers.which,
        messages.Succeed: authorisers.succeed,
        messages.Settle: authorisers.settle,
    }


async def _ping(request: messages.Ping, peer: str) -> AnyReply:
    return messages.Done(request.number)
