"""BIP-340 signatures as the NetHSM is asked for them and gives them."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from keys.hsm.nethsm.access import NetHsmUser
from keys.hsm.nethsm.calls import NetHsmRequest, NetHsmResponse
from keys.hsm_errors import HsmAnswerRefused

_MESSAGE_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 64


def request(user: NetHsmUser, key_id: str, message: bytes) -> NetHsmRequest:
    """The call that has ``message`` (32 bytes) signed."""
    if len(message) != _MESSAGE_SIZE:
        raise ValueError("an event id is 32 bytes")
    body = {"mode": "BIP340", "message": base64.b64encode(message).decode()}
    return NetHsmRequest("POST", f"/keys/{key_id}/sign", user, body=body)


def parse(answer: NetHsmResponse) -> bytes:
    """The signature (64 bytes) in an answer; not verified here. Raises HsmAnswerRefused."""
    found: Any = answer.json()
    text = found.get("signature") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise HsmAnswerRefused
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HsmAnswerRefused from None
    if len(signature) != _SIGNATURE_SIZE:
        raise HsmAnswerRefused
    return signature
