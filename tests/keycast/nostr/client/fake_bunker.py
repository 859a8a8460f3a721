"""A relay with a scripted bunker behind it, on a free port of the loopback: what our client is tested against."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from keycast.nostr import nip44
from keycast.nostr.client import identity
from keycast.nostr.nip01 import UnsignedEvent, id_of, parse_event, serialize, verify_event

SECRET = "5e" * 16
Answer = dict[str, Any] | None


class FakeBunker:
    """Answers by ``script[method](params) -> {"result": ...} | {"error": ...} | None`` (None: silence)."""

    def __init__(self) -> None:
        self.signer = identity.fresh()
        self.user = identity.fresh()
        self.url = ""
        self.script: dict[str, Callable[[list[str]], Answer | Awaitable[Answer]]] = {
            "connect": lambda params: {"result": "ack"} if params[1] == SECRET else {"error": "wrong secret"},
            "ping": lambda params: {"result": "pong"},
            "get_public_key": lambda params: {"result": self.user.public_key_hex},
            "sign_event": lambda params: {"result": self.signed(json.loads(params[0]))},
            "logout": lambda params: {"result": "ack"},
        }
        self.requests: list[tuple[str, list[str]]] = []
        self.refuse_events_with = ""
        self.wants_auth = False
        self.drop_after_first_event = False
        self.before_reply: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda reply: [reply]
        self.author: Any = None

    def bunker_url(self, *relays: str) -> str:
        query = "&".join(f"relay={url}" for url in relays or [self.url])
        return f"bunker://{self.signer.public_key_hex}?{query}&secret={SECRET}"

    def signed(self, template: dict[str, Any]) -> str:
        draft = UnsignedEvent(
            self.user.public_key_hex, template["created_at"], template["kind"], template["tags"], template["content"]
        )
        identity_ = id_of(draft)
        return serialize(draft.signed(identity_.hex(), self.user.sign(identity_))).decode()

    @asynccontextmanager
    async def running(self):
        async with serve(self._serve, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _serve(self, socket: ServerConnection) -> None:
        allowed = not self.wants_auth
        if self.wants_auth:
            await socket.send('["AUTH","challenge"]')
        async for frame in socket:
            match json.loads(frame):
                case ["REQ", subscription, _]:
                    await socket.send(
                        json.dumps(["EOSE", subscription] if allowed else ["CLOSED", subscription, "auth-required: no"])
                    )
                case ["AUTH", event]:
                    allowed = verify_event(parse_event(json.dumps(event))) and event["kind"] == 22242
                    await socket.send(json.dumps(["OK", event["id"], allowed, ""]))
                case ["EVENT", event]:
                    if self.drop_after_first_event:
                        self.drop_after_first_event = False
                        await socket.close()
                        return
                    reason = self.refuse_events_with
                    await socket.send(json.dumps(["OK", event["id"], not reason, reason]))
                    if not reason:
                        await self._answer(socket, event)

    async def _answer(self, socket: ServerConnection, raw: dict[str, Any]) -> None:
        event = parse_event(json.dumps(raw))
        assert verify_event(event)
        key = nip44.conversation_key(self.signer, bytes.fromhex(event.pubkey))
        request = json.loads(nip44.decrypt(event.content, key))
        self.requests.append((request["method"], request["params"]))
        answer = self.script[request["method"]](request["params"])
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer is None:
            return
        for reply in self.before_reply({"id": request["id"], **answer}):
            await socket.send(json.dumps(["EVENT", "replies", self._reply(event.pubkey, reply, key)]))

    def _reply(self, client: str, reply: dict[str, Any], key: Any) -> dict[str, Any]:
        author = self.author or self.signer
        content = nip44.encrypt(json.dumps(reply), key)
        draft = UnsignedEvent(author.public_key_hex, int(time.time()), 24133, [["p", client]], content)
        identity_ = id_of(draft)
        return json.loads(serialize(draft.signed(identity_.hex(), author.sign(identity_))))
