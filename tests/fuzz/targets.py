"""What is fuzzed: a function of bytes, the errors by which it may refuse, and inputs to begin with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bunker.policy import PolicyError, compile_policy
from bunker.policy.document import parse_document
from bunker.services.pairing import read_metadata
from keycast.crypto import ecdsa
from keycast.crypto.errors import CryptoError
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip19, nip44, nip49
from keycast.nostr.nip01 import EventError, parse_event, parse_head, parse_template, serialize
from keycast.nostr.nip46 import RequestError, parse_permissions, parse_request, parse_response
from keycast.nostr.uris import BunkerUri, NostrConnectUri, UriError, normalize_relay_url
from keys.signing.cosigning import messages as cosigner
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.isolated import messages as signer
from tests.bunker.relays.support import CLIENT, Peer, make_hub, signed

_ONE, _TWO = (Keypair.from_secret(SecretBytes(bytes([0] * 31 + [number]))) for number in (1, 2))
_CONVERSATION = nip44.conversation_key(_ONE, bytes.fromhex(_TWO.public_key_hex))
_SHARED = nip04.shared_key(_ONE, bytes.fromhex(_TWO.public_key_hex))
EVENT = serialize(signed())
CLIENT_KEY = CLIENT.public_key_hex.encode()
TEMPLATE = json.dumps({"kind": 1, "content": "hi", "tags": [["p", CLIENT.public_key_hex]], "created_at": 1}).encode()
POLICY = {
    "version": 1,
    "rules": [
        {
            "effect": "allow",
            "methods": ["sign_event"],
            "kinds": [1, 22242],
            "tags": {"relay": ["wss://*"]},
            "max_ahead": 60,
        },
        {"effect": "deny", "methods": ["nip44_decrypt"], "peers": "any", "reason": "no"},
    ],
    "limits": {"total_uses": 5, "per_minute": 2},
}


PEM = (
    ec.derive_private_key(1, ec.SECP256K1())
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)


PROFILE = nip19.ProfilePointer("ab" * 32, ("wss://relay.example",)).encode().encode()
UNREADABLE = (msgspec.MsgspecError, UnicodeError)
PING = cosigner.PingRequest(1, bytes(16), bytes(16))
TO_SIGN = cosigner.PartialSignatureRequest(
    2, bytes(16), bytes(16), bytes(32), cosigner.EventBody("ab" * 32, 1, 1, [], "hi"), bytes(32),
    bytes(66), UseAuthorisation(bytes(16), bytes(16), bytes(64)),
)  # fmt: skip
ASKED = cosigner.AppRequest(bytes(32), 1, [["p", "ab" * 32]], "AgAA", bytes(64), bytes(32))
ADMIT = cosigner.AdmitAppRequest(
    3, bytes(16), bytes(16), cosigner.AppAdmission(bytes(32), bytes(32), ["sign_event"], [(0, 1)])
)
ASKED_TO_SIGN = msgspec.structs.replace(TO_SIGN, asked=ASKED)


@dataclass(frozen=True, slots=True)
class Target:
    """``read`` either returns or raises one of ``refusals``; anything else is a fault."""

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Texts come as str: from JSON, forms, and command lines, lone surrogates included."""
    return lambda raw: read(raw.decode("utf-8", "surrogateescape"))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _frames(raw: bytes) -> None:
    """A whole connection to the built-in relay: each line is one frame of a client."""
    _loop().run_until_complete(_connection(raw))


async def _connection(raw: bytes) -> None:
    peer = Peer(make_hub())
    for frame in raw.split(b"\n")[:20]:
        peer.text(frame)
    peer.session.close()


def _use(policy: Any) -> None:
    from bunker.policy import RequestedUse

    for call in (
        RequestedUse("sign_event", "aa" * 32, kind=22242, tags=[["relay", "wss://x"]]),
        RequestedUse("nip44_decrypt", "aa" * 32, peer="aa" * 32),
    ):
        policy.decide(call)


def _policy(raw: bytes) -> None:
    parse_document(raw)
    _use(compile_policy(raw.decode()))


TARGETS = (
    Target(
        "frames", _frames, (),
        (
            b'["EVENT",' + EVENT + b"]\n" + b'["EVENT",' + EVENT + b"]",
            b'["REQ","s",{"kinds":[24133],"#p":["' + CLIENT_KEY + b'"],"since":1,"limit":5}]\n["CLOSE","s"]',
            b'["AUTH",' + EVENT + b"]",
            b'["REQ","s",{"ids":["00"],"authors":["aa"],"#e":["x"],"until":2}]',
        ),
    ),
    Target("event", parse_event, (EventError,), (EVENT,)),
    Target("head of an event", parse_head, (EventError,), (EVENT,)),
    Target("template", parse_template, (EventError,), (TEMPLATE,)),
    Target(
        "request", _text(parse_request), (RequestError,),
        (b'{"id":"1","method":"sign_event","params":["{}"]}', b'{"id":7,"method":"connect","params":["a","b",""]}'),
    ),
    Target("response", _text(parse_response), (RequestError,), (b'{"id":"1","result":"ack","error":""}',)),
    Target("permissions", _text(parse_permissions), (), (b"sign_event:1,nip44_encrypt,*,undefined, sign_event:-1",)),
    Target("metadata", _text(read_metadata), (), (b'{"name":"App","url":"https://a.example","image":"data:x"}',)),
    Target(
        "bunker URI", _text(BunkerUri.parse), (UriError,),
        (b"bunker://" + b"ab" * 32 + b"?relay=wss%3A%2F%2Frelay.example&secret=0123",),
    ),
    Target(
        "nostrconnect URI", _text(NostrConnectUri.parse), (UriError,),
        (
            b"nostrconnect://" + b"ab" * 32 + b"?relay=wss%3A%2F%2Fr.example&secret=x&perms=ping&name=A b&url=x",
            b'nostrconnect://' + b"ab" * 32 + b'?relay=wss://r.example&metadata={"name":"A"}&secret=s&image=javascript:x',
        ),
    ),
    Target("relay URL", _text(normalize_relay_url), (UriError,), (b"wss://Relay.Example:443/a/../b?c", b"ws://[::1]:1")),
    Target("policy", _policy, (PolicyError, UnicodeError), (json.dumps(POLICY).encode(),)),
    Target(
        "NIP-44 payload", _text(lambda text: nip44.decrypt(text, _CONVERSATION)), (nip44.Nip44Error,),
        (nip44.encrypt("hello", _CONVERSATION).encode(), b"#unsupported", b"A" * 132),
    ),
    Target(
        "NIP-04 payload", _text(lambda text: nip04.decrypt(text, _SHARED)), (nip04.Nip04Error,),
        (nip04.encrypt("hello", _SHARED).encode(),),
    ),
    Target(
        "NIP-49 key", _text(lambda text: nip49.decrypt(text, "pw", 1)), (nip49.Nip49Error,),
        (nip49.encrypt(SecretBytes(bytes(31) + b"\x01"), "pw", log_n=1).encode(),),
    ),
    Target("npub", _text(nip19.decode_npub), (nip19.Nip19Error,), (nip19.encode_npub("ab" * 32).encode(),)),
    Target("nprofile", _text(nip19.ProfilePointer.decode), (nip19.Nip19Error,), (PROFILE,)),
    Target("DER signature", ecdsa.parse_der, (CryptoError,), (bytes.fromhex("3006020101020101"),)),
    Target("PEM public key", _text(ecdsa.public_key_from_pem), (CryptoError,), (PEM,)),
    Target(
        "co-signer request", cosigner.decode_request, UNREADABLE,
        tuple(map(cosigner.encode, (TO_SIGN, PING, ASKED_TO_SIGN, ADMIT))),
    ),
    Target("co-signer reply", cosigner.decode_reply, UNREADABLE, (cosigner.encode(cosigner.CosignerDoneReply(1)),)),
    Target("signer request", signer.decode_request, UNREADABLE, (signer.encode(signer.StatusRequest(1)),)),
    Target("signer reply", signer.decode_reply, UNREADABLE, (b"\x93\xa4done\x01\xc0",)),
)  # fmt: skip
