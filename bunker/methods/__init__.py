"""The methods of NIP-46, a module each, one for all that encrypt or decrypt. ``prepare`` makes an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from bunker.methods import (
    connect,
    crypt,
    get_public_key,
    logout,
    ping,
    sign_event,
    switch_relays,
)
from bunker.methods.base import (
    BadParameters,
    ConnectionMethod,
    InfoMethod,
    KeyMethod,
    KeyOperations,
    Operation,
    RequestContext,
    UnknownMethod,
)
from keycast.nostr.nip46 import CRYPT_METHODS, Nip46Method
from keycast.nostr.nip46 import METHODS as METHOD_TABLE

__all__ = [
    "METHODS",
    "BadParameters",
    "ConnectionMethod",
    "InfoMethod",
    "KeyMethod",
    "KeyOperations",
    "Operation",
    "RequestContext",
    "UnknownMethod",
    "prepare",
]

METHODS: Final[dict[str, Callable[[Sequence[str], RequestContext], Operation]]] = {
    Nip46Method.CONNECT.value: connect.Connect,
    Nip46Method.SIGN_EVENT.value: sign_event.SignEvent,
    Nip46Method.GET_PUBLIC_KEY.value: get_public_key.GetPublicKey,
    Nip46Method.PING.value: ping.Ping,
    **{name: partial(crypt.CipherMethod, METHOD_TABLE[name].method) for name in CRYPT_METHODS},
    Nip46Method.SWITCH_RELAYS.value: switch_relays.SwitchRelays,
    Nip46Method.LOGOUT.value: logout.Logout,
}


def prepare(method: str, params: Sequence[str], subject: RequestContext) -> Operation:
    """The operation that a request asks for. Raises UnknownMethod and BadParameters, whose texts go to the client."""
    make = METHODS.get(method)
    if make is None:
        raise UnknownMethod
    return make(params, subject)
