"""The yardstick: what the six primitives of one sign_event request cost on this machine, without anything around them.

Twice: as plain library calls (coincurve's own API, the conversation key derived for every message, the key pair rebuilt
for every signature), and as this code calls them (parsed keys, key pairs and conversation keys kept for the lease).
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from statistics import median

from coincurve import PublicKey, PublicKeyXOnly
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from keycast.crypto.schnorr import Keypair, verify
from keycast.nostr import nip44
from keycast.nostr.events import event_id
from keycast.nostr.nip46 import Request

BATCHES = 7
CALLS = 300
STEPS = ("verify", "NIP-44 decrypt", "sign", "self-verify", "NIP-44 encrypt", "sign the reply")


Costs = dict[str, dict[str, float]]
"""``{"plain": {step: us}, "as called": {step: us}}``, each with its ``sum``."""


def microseconds(call: Callable[[], object]) -> float:
    """CPU time of one call: the median of several batches, so that a noisy neighbour does not count."""
    call()
    costs = []
    for _ in range(BATCHES):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        costs.append((time.process_time() - started) / CALLS)
    return round(1e6 * median(costs), 1)


def measure() -> Costs:
    """Measure every step both ways."""
    signer, secret = Keypair.generate()
    client, client_secret = Keypair.generate()
    message = os.urandom(32)
    signature = client.sign(message)
    note = '{"kind":1,"content":"' + "a note of usual length " * 4 + '","tags":[],"created_at":1700000000}'
    request = Request(secrets.token_hex(8), "sign_event", [note]).to_text()
    signed = event_id(signer.public_key_hex, 1_700_000_000, 1, [], note) * 4 + note
    conversation = nip44.conversation_key(signer, client.public_key)
    payload = nip44.encrypt(request, conversation)
    raw_secret, peer = bytes(secret.view()), client.public_key
    plain: dict[str, Callable[[], object]] = {
        "verify": lambda: PublicKeyXOnly(peer).verify(signature, message),
        "NIP-44 decrypt": lambda: _plain_decrypt(raw_secret, peer, payload),
        "sign": lambda: _plain_sign(raw_secret, message),
        "self-verify": lambda: PublicKeyXOnly(peer).verify(signature, message),
        "NIP-44 encrypt": lambda: _plain_encrypt(raw_secret, peer, signed),
        "sign the reply": lambda: _plain_sign(raw_secret, message),
    }
    ours: dict[str, Callable[[], object]] = {
        "verify": lambda: verify(peer, message, signature),
        "NIP-44 decrypt": lambda: nip44.decrypt(payload, conversation),
        "sign": lambda: signer.sign_unchecked(message),
        "self-verify": lambda: verify(peer, message, signature),
        "NIP-44 encrypt": lambda: nip44.encrypt(signed, conversation),
        "sign the reply": lambda: signer.sign_unchecked(message),
    }
    assert _plain_decrypt(raw_secret, peer, payload) == request.encode()
    assert nip44.decrypt(_plain_encrypt(raw_secret, peer, signed), conversation) == signed
    assert verify(signer.public_key, message, _plain_sign(raw_secret, message))
    client_secret.wipe()
    return {"plain": _costs(plain), "as called": _costs(ours)}


def _costs(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    costs = {step: microseconds(calls[step]) for step in STEPS}
    return {**costs, "sum": round(sum(costs.values()), 1)}


def _plain_sign(secret: bytes, message: bytes) -> bytes:
    """coincurve's ``sign_schnorr`` without the verification at its end, which is a step of its own here."""
    keypair, signature = ffi.new("secp256k1_keypair *"), ffi.new("unsigned char[64]")
    assert lib.secp256k1_keypair_create(GLOBAL_CONTEXT.ctx, keypair, secret)
    assert lib.secp256k1_schnorrsig_sign32(GLOBAL_CONTEXT.ctx, signature, message, keypair, os.urandom(32))
    return bytes(ffi.buffer(signature))


def _conversation_key(secret: bytes, peer: bytes) -> bytes:
    shared = PublicKey(b"\x02" + peer).multiply(secret).format()[1:]
    return hmac.digest(b"nip44-v2", shared, "sha256")


def _message_keys(secret: bytes, peer: bytes, nonce: bytes) -> bytes:
    """HKDF-Expand (RFC 5869) to 76 bytes."""
    key, block, keys = _conversation_key(secret, peer), b"", b""
    for counter in (1, 2, 3):
        block = hmac.digest(key, block + nonce + bytes([counter]), "sha256")
        keys += block
    return keys[:76]


def _plain_decrypt(secret: bytes, peer: bytes, payload: str) -> bytes:
    raw = base64.b64decode(payload)
    keys = _message_keys(secret, peer, raw[1:33])
    assert hmac.compare_digest(hmac.digest(keys[44:], raw[1:-32], sha256), raw[-32:])
    padded = Cipher(ChaCha20(keys[:32], bytes(4) + keys[32:44]), None).decryptor().update(raw[33:-32])
    return padded[2 : 2 + int.from_bytes(padded[:2], "big")]


def _plain_encrypt(secret: bytes, peer: bytes, text: str) -> str:
    nonce, plaintext = os.urandom(32), text.encode()
    keys = _message_keys(secret, peer, nonce)
    padded = len(plaintext).to_bytes(2, "big") + plaintext.ljust(nip44.padded_length(len(plaintext)), b"\x00")
    sealed = nonce + Cipher(ChaCha20(keys[:32], bytes(4) + keys[32:44]), None).encryptor().update(padded)
    return base64.b64encode(b"\x02" + sealed + hmac.digest(keys[44:], sealed, sha256)).decode()
