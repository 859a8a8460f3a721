"""The methods of NIP-46, one module each. ``prepare`` makes an operation of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bunker.methods import (
    connect,
    get_public_key,
    logout,
    nip04_decrypt,
    nip04_encrypt,
    nip44_decrypt,
    nip44_encrypt,
    ping,
    sign_event,
    switch_relays,
)
from bunker.methods.base import Answer, BadParameters, KeyUse, Operation, Subject, UnknownMethod, UsesKeys, Verb

__all__ = [
    "METHODS",
    "Answer",
    "BadParameters",
    "KeyUse",
    "Operation",
    "Subject",
    "UnknownMethod",
    "UsesKeys",
    "Verb",
    "prepare",
]

METHODS: Final[dict[str, Callable[[Sequence[str], Subject], Operation]]] = {
    "connect": connect.Connect,
    "sign_event": sign_event.SignEvent,
    "get_public_key": get_public_key.GetPublicKey,
    "ping": ping.Ping,
    "nip04_encrypt": nip04_encrypt.Nip04Encrypt,
    "nip04_decrypt": nip04_decrypt.Nip04Decrypt,
    "nip44_encrypt": nip44_encrypt.Nip44Encrypt,
    "nip44_decrypt": nip44_decrypt.Nip44Decrypt,
    "switch_relays": switch_relays.SwitchRelays,
    "logout": logout.Logout,
}


def prepare(method: str, params: Sequence[str], subject: Subject) -> Operation:
    """The operation that a request asks for. Raises UnknownMethod and BadParameters, whose texts go to the client."""
    make = METHODS.get(method)
    if make is None:
        raise UnknownMethod
    return make(params, subject)
