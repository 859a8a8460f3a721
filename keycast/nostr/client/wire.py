"""Requests and replies as they travel: NIP-44 inside signed kind 24133 events (NIP-46, "Request Events")."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip44
from keycast.nostr.client.errors import BadBunkerUrl
from keycast.nostr.nip01 import Event, EventError, UnsignedEvent, id_of, parse_event, serialize, verify_event
from keycast.nostr.nip46 import KIND, Nip46Request

AUTH_KIND: Final = 22242


@dataclass(frozen=True, slots=True)
class BunkerReply:
    """What the bunker said to one request: ``error`` is set when it refused, or an address when an ``auth_url``."""

    request_id: str
    result: str
    error: str


class RequestCipher:
    """Seals requests from one client key to one signer, and opens that signer's replies."""

    def __init__(self, keypair: Keypair, signer: str) -> None:
        self._keypair = keypair
        self._signer = signer
        try:
            self._conversation = nip44.conversation_key(keypair, bytes.fromhex(signer))
        except ValueError:
            raise BadBunkerUrl("The signer's public key in this bunker address is not a point on the curve.") from None

    @property
    def subscription(self) -> dict[str, Any]:
        """The filter for this signer's replies to this client."""
        return {"kinds": [KIND], "authors": [self._signer], "#p": [self._keypair.public_key_hex]}

    def seal(self, request_id: str, method: str, params: list[str]) -> Event:
        """The signed event that carries one request."""
        body = Nip46Request(request_id, method, params).to_text()
        return self._signed(KIND, [["p", self._signer]], nip44.encrypt(body, self._conversation))

    def open(self, raw: bytes) -> BunkerReply | None:
        """The reply in an event's JSON; None for anything that is not this signer's valid reply to us."""
        try:
            event = parse_event(raw)
        except EventError:
            return None
        ours = ["p", self._keypair.public_key_hex] in [tag[:2] for tag in event.tags]
        if event.kind != KIND or event.pubkey != self._signer or not ours or not verify_event(event):
            return None
        return self._read(event.content)

    def authenticate(self, relay: str, challenge: str) -> tuple[str, str]:
        """The NIP-42 event for a relay's challenge: its id, and its JSON text."""
        event = self._signed(AUTH_KIND, [["relay", relay], ["challenge", challenge]], "")
        return event.id, serialize(event).decode()

    def wipe(self) -> None:
        """Forget the client key and the conversation key."""
        self._conversation.wipe()
        self._keypair.wipe()

    def _signed(self, kind: int, tags: list[list[str]], content: str) -> Event:
        draft = UnsignedEvent(self._keypair.public_key_hex, int(time.time()), kind, tags, content)
        identity = id_of(draft)
        return draft.signed(identity.hex(), self._keypair.sign(identity))

    def _read(self, content: str) -> BunkerReply | None:
        try:
            body = json.loads(nip44.decrypt(content, self._conversation))
        except (nip44.Nip44Error, ValueError, RecursionError):
            return None
        match body:
            case {"id": str(request_id)}:
                return BunkerReply(request_id, _text(body.get("result")), _text(body.get("error")))
        return None


def _text(value: Any) -> str:
    """Bunkers differ: null, a string, and sometimes an object or array where a string is due."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
