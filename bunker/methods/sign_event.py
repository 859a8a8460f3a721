"""``sign_event``: sign this with the user's key (NIP-46, NIP-01)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bunker.methods.base import BadParameters, KeyMethod, KeyOperations, RequestContext, require
from bunker.policy import RequestedUse
from keycast.audit.tags import AuditTag
from keycast.nostr.nip01 import EventError, UnsignedEvent, parse_template, serialize
from keycast.nostr.nip46 import Nip46Method
from keys.refs import KeyRef
from keys.signing.cosigning.messages import AskedUse

SURELY_FITS = 16 * 1024
"""Characters of a template whose signed event every relay takes, however much of it has to be escaped."""
_ID_AND_SIGNATURE = 256
_quote = msgspec.json.Encoder().encode


def _answer_size(event: UnsignedEvent) -> int:
    return len(_quote(serialize(event).decode())) + _ID_AND_SIGNATURE


class SignEvent(KeyMethod):
    """One parsed template feeds both the policy and the signer: they cannot see different events (threats C7)."""

    __slots__ = ("_event_id", "_template")
    name = Nip46Method.SIGN_EVENT.value
    tag = AuditTag.SIGN_EVENT

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        require(params, 1)
        try:
            template = parse_template(params[0])
        except EventError as error:
            raise BadParameters(f"This is not an event that can be signed. {error.detail}".rstrip()) from None
        key = subject.key.public_key
        if template.pubkey is not None and template.pubkey != key:
            raise BadParameters("This event names another author than the connected key.")
        call = RequestedUse(
            self.name, key, uses=subject.uses, kind=template.kind, tags=template.tags, content=template.content,
            ahead=max(0, template.created_at - int(time.time())),
        )  # fmt: skip
        size = _answer_size(template.by(key)) if len(params[0]) > SURELY_FITS else 0
        super().__init__(call, {"kind": template.kind, "size": len(template.content)}, size)
        self._template = template
        self._event_id = ""

    async def run(self, keys: KeyOperations, key: KeyRef, asked: AskedUse | None = None) -> str:
        """The signed event as JSON text; id and signature were verified by the signing service."""
        event = await keys.sign_event(key, self._template.by(key.public_key), asked)
        self._event_id = event.id
        return serialize(event).decode()

    def outcome(self) -> Mapping[str, Any]:
        return {"event": self._event_id}
