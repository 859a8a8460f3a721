"""A client's session with one bunker: pair, ask, and get answers that belong to the questions (NIP-46)."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from keycast.crypto.schnorr import Keypair
from keycast.nostr.client import identity
from keycast.nostr.client.checks import signed_as_asked
from keycast.nostr.client.errors import (
    BadAnswer,
    BadBunkerUrl,
    BunkerRefused,
    NoAnswer,
    RelaysRefused,
    RelaysUnreachable,
)
from keycast.nostr.client.link import ClientRelayConnection
from keycast.nostr.client.wire import RequestCipher
from keycast.nostr.nip01 import Event, serialize
from keycast.nostr.uris import BunkerUri

DEFAULT_TIMEOUT: Final = 15.0
APPROVAL_TIMEOUT: Final = 600.0
"""How long an answer may take once the bunker has asked for its owner's approval (``auth_url``), in seconds."""


@dataclass(slots=True)
class _PendingRequest:
    answer: asyncio.Future[str]
    deadline: asyncio.Timeout


class BunkerClient:
    """Talks to the bunker of one bunker:// address over all its relays at once; use as ``async with``.

    ``keypair`` is the client's own key (fresh if not given); ``on_auth_url`` is told the address at which the owner
    must approve a request. Every method raises ClientError subclasses: Refused with the bunker's own words, NoAnswer,
    RelaysUnreachable, RelaysRefused, BadAnswer.
    """

    def __init__(
        self,
        bunker_url: str,
        *,
        keypair: Keypair | None = None,
        relays: Sequence[str] = (),
        timeout: float = DEFAULT_TIMEOUT,
        on_auth_url: Callable[[str], None] | None = None,
    ) -> None:
        try:
            self.uri = BunkerUri.parse(bunker_url)
        except ValueError:
            raise BadBunkerUrl from None
        self.relays = list(relays or self.uri.relays)
        self._wire = RequestCipher(keypair or identity.fresh(), self.uri.signer_public_key)
        self._timeout = timeout
        self._on_auth_url = on_auth_url
        self._links: list[ClientRelayConnection] = []
        self._questions: dict[str, _PendingRequest] = {}
        self.public_key = ""

    async def __aenter__(self) -> Self:
        """Open the relays; at least one must take the subscription. Raises RelaysUnreachable."""
        wire = self._wire
        self._links = [
            ClientRelayConnection(url, wire.subscription, self._hear, wire.authenticate) for url in self.relays
        ]
        waiting = [asyncio.create_task(link.ready.wait()) for link in self._links]
        _, late = await asyncio.wait(waiting, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        if len(late) == len(waiting):
            problems = "; ".join(f"{link.url}: {link.problem}" for link in self._links)
            await self.__aexit__()
            raise RelaysUnreachable(f"None of the bunker's relays could be used ({problems}).")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.gather(*(link.close() for link in self._links))
        self._wire.wipe()

    async def request(self, method: str, params: Sequence[str] = ()) -> str:
        """Ask anything; returns the result as the bunker sent it."""
        request_id = secrets.token_hex(8)
        event = self._wire.seal(request_id, method, list(params))
        sending = asyncio.create_task(self._publish(event))
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
                self._questions[request_id] = _PendingRequest(answer, deadline)
                either: set[asyncio.Future[Any]] = {answer, sending}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    sending.result()  # raises when every relay has refused
                return await answer
        except TimeoutError:
            raise NoAnswer(
                "The bunker did not answer in time: it may be offline, or this client may not be paired with it."
            ) from None
        finally:
            self._questions.pop(request_id, None)
            sending.cancel()

    async def connect(self, *, permissions: str = "", metadata: dict[str, str] | None = None) -> None:
        """Pair with the bunker by the address's secret; harmless to repeat with the same client key."""
        params = [self.uri.signer_public_key, self.uri.secret or ""]
        if permissions or metadata:
            params.append(permissions)
        if metadata:
            params.append(json.dumps(metadata, ensure_ascii=False))
        answer = await self.request("connect", params)
        if answer != "ack" and not (self.uri.secret and secrets.compare_digest(answer, self.uri.secret)):
            raise BadAnswer("The bunker answered the pairing with something that is not an acknowledgement.")

    async def ping(self) -> None:
        if await self.request("ping") != "pong":
            raise BadAnswer("The bunker's answer to ping is not pong.")

    async def get_public_key(self) -> str:
        """The user's public key, 64 lower-case hex digits; asked once a session."""
        if not self.public_key:
            answer = await self.request("get_public_key")
            if len(answer) != 64 or not set(answer) <= set("0123456789abcdef"):
                raise BadAnswer("The bunker's answer is not a public key.")
            self.public_key = answer
        return self.public_key

    async def sign_event(self, template: dict[str, Any]) -> Event:
        """Have ``template`` (kind, content, tags, created_at) signed; id, signature and content are verified."""
        answer = await self.request("sign_event", [json.dumps(template, ensure_ascii=False)])
        return signed_as_asked(answer, template, self.public_key)

    async def nip44_encrypt(self, peer: str, plaintext: str) -> str:
        return await self.request("nip44_encrypt", [peer, plaintext])

    async def nip44_decrypt(self, peer: str, payload: str) -> str:
        return await self.request("nip44_decrypt", [peer, payload])

    async def nip04_encrypt(self, peer: str, plaintext: str) -> str:
        return await self.request("nip04_encrypt", [peer, plaintext])

    async def nip04_decrypt(self, peer: str, payload: str) -> str:
        return await self.request("nip04_decrypt", [peer, payload])

    async def switch_relays(self) -> list[str] | None:
        """The relays that the bunker now wants to be asked on, or None when they stay as they are."""
        try:
            relays = json.loads(await self.request("switch_relays"))
        except ValueError:
            raise BadAnswer("The bunker's answer is not a list of relays.") from None
        if relays is not None and not (isinstance(relays, list) and all(isinstance(url, str) for url in relays)):
            raise BadAnswer("The bunker's answer is not a list of relays.")
        return relays

    async def logout(self) -> None:
        """End this client's pairing."""
        if await self.request("logout") != "ack":
            raise BadAnswer("The bunker did not acknowledge the logout.")

    async def _publish(self, event: Event) -> None:
        """Returns when a relay has accepted the event; raises RelaysRefused when all have refused it."""
        text = serialize(event).decode()
        sending = {asyncio.create_task(link.publish(event.id, text)): link.url for link in self._links}
        reasons = []
        try:
            for done in asyncio.as_completed(sending):
                if not (reason := await done):
                    await asyncio.Event().wait()  # accepted: the answer decides now, and cancels this
                reasons.append(reason)
        finally:
            for task in sending:
                task.cancel()
        raise RelaysRefused(f"The relay refused the request: {'; '.join(reasons)}.")

    def _hear(self, raw: bytes) -> None:
        """Hand one reply to its question. Replies come once for every relay; the first one counts."""
        reply = self._wire.open(raw)
        question = self._questions.get(reply.request_id) if reply else None
        if reply is None or question is None or question.answer.done():
            return
        if reply.result == "auth_url":
            question.deadline.reschedule(asyncio.get_running_loop().time() + APPROVAL_TIMEOUT)
            if self._on_auth_url:
                self._on_auth_url(reply.error)
        elif reply.error:
            question.answer.set_exception(BunkerRefused(f"The bunker refused: {reply.error}"))
        else:
            question.answer.set_result(reply.result)
