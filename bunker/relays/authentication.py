"""NIP-42 on one outbound connection: only when the relay insists, only the newest challenge, only now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from itertools import islice

from bunker.relays.interfaces import Nip42Signer
from bunker.relays.limits import OutboundLimits
from keycast.base.token_bucket import TokenBucket
from keycast.nostr.nip01 import UnsignedEvent, serialize

logger = logging.getLogger(__name__)

KIND_AUTH = 22242
MOST_CHALLENGE_CHARS = 1_024
SIGN_SECONDS = 10.0


class Nip42Authentication:
    """Holds the newest challenge and signs it, for a bounded number of keys, when something was refused without it.

    A challenge alone is not answered: that would tell every relay which keys belong together.
    """

    def __init__(
        self,
        url: str,
        authenticator: Nip42Signer | None,
        keys: Callable[[], Collection[str]],
        limits: OutboundLimits,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._url, self._authenticator, self._keys = url, authenticator, keys
        self._limits, self._wall = limits, wall
        self._rate = TokenBucket(1 / limits.auth_interval, 2, clock)
        self._challenge: str | None = None
        self._is_asked = False
        self._put: Callable[[bytes], None] | None = None
        self._sent: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def challenged(self, challenge: str) -> None:
        """Keep the newest challenge; use it at once if something waits for it."""
        if 0 < len(challenge) <= MOST_CHALLENGE_CHARS:
            self._challenge = challenge
            if self._is_asked and self._put is not None:
                self.ask(self._put)

    def ask(self, put: Callable[[bytes], None]) -> None:
        """The relay refuses without authentication: do it, unless that is under way or was just done."""
        self._is_asked, self._put = True, put
        is_busy = self._task is not None and not self._task.done()
        if self._challenge is None or self._authenticator is None or is_busy or not self._rate.take():
            return
        self._task = asyncio.create_task(self._answer(self._challenge, self._authenticator, put))
        self._task.add_done_callback(note_failure)

    def answered(self, event_id: str, accepted: bool) -> bool:
        """Tell whether an OK was for one of our AUTH events, and take it."""
        if event_id not in self._sent:
            return False
        self._sent.discard(event_id)
        if accepted:
            self._is_asked = False
        return True

    def stop(self) -> None:
        """Forget the connection."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, challenge: str, authenticator: Nip42Signer, put: Callable[[bytes], None]) -> None:
        tags = [["relay", self._url], ["challenge", challenge]]
        self._sent.clear()
        for key in list(islice(self._keys(), self._limits.auth_keys)):
            unsigned = UnsignedEvent(key, int(self._wall()), KIND_AUTH, tags, "")
            try:
                async with asyncio.timeout(SIGN_SECONDS):
                    signed = await authenticator.sign_auth(key, unsigned)
            except TimeoutError:
                return
            if signed is not None:
                self._sent.add(signed.id)
                put(b'["AUTH",' + serialize(signed) + b"]")


def note_failure(task: asyncio.Task[None]) -> None:
    """Log the class of what ended an authentication; the connection goes on without it."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.warning("NIP-42 authentication failed", extra={"error": type(error).__name__})
