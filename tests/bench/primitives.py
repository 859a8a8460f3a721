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
from collections.abc import Callable, Sequence
from hashlib import sha256
from statistics import median

from coincurve import PublicKey, PublicKeyXOnly
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from keycast.crypto.schnorr import Keypair, verify
from keycast.nostr import nip44
from keycast.nostr.nip46 import Nip46Request

BATCHES = 7
CLIENTS = 100
STEPS = ("verify", "NIP-44 decrypt", "sign", "self-verify", "NIP-44 encrypt", "sign the reply")
NOTE = '{"kind":1,"content":"' + "a note of usual length " * 4 + '","tags":[],"created_at":1700000000}'

Costs = dict[str, dict[str, float]]
"""``{"plain": {step: us}, "as called": {step: us}}``, each with its ``sum``."""
Steps = tuple[Callable[[], object], ...]


def measure() -> Costs:
    """Run the six steps in the order of a request, for one client after the other, as a server meets them.

    Every client has its own key and message: repeating one step on one input would be faster than any request can be.
    """
    signer, secret = Keypair.generate()
    cases = [_Case(signer, bytes(secret.view())) for _ in range(CLIENTS)]
    return {"plain": _costs([case.plain() for case in cases]), "as called": _costs([case.ours() for case in cases])}


def _costs(requests: Sequence[Steps]) -> dict[str, float]:
    """CPU time of whole requests, median over batches; shared out by the median time of each step."""
    spent: list[list[float]] = [[] for _ in STEPS]
    total = median([_batch(requests, spent) for _ in range(BATCHES + 1)][1:])
    shares = [median(times) for times in spent]
    costs = {step: round(total * share / sum(shares), 1) for step, share in zip(STEPS, shares, strict=True)}
    return {**costs, "sum": round(total, 1)}


def _batch(requests: Sequence[Steps], spent: list[list[float]]) -> float:
    """CPU microseconds of one request; notes in ``spent`` how long each step took."""
    clock = time.perf_counter
    started = time.process_time()
    for steps in requests:
        for place, step in enumerate(steps):
            began = clock()
            step()
            spent[place].append(clock() - began)
    return 1e6 * (time.process_time() - started) / len(requests)


class _Case:
    """One client's request to the signer, and both ways to handle it."""

    def __init__(self, signer: Keypair, secret: bytes) -> None:
        client, client_secret = Keypair.generate()
        client_secret.wipe()
        self.signer, self.secret, self.client = signer, secret, client
        self.message = os.urandom(32)
        self.signature, self.own = client.sign(self.message), signer.sign(self.message)
        self.conversation = nip44.conversation_key(signer, client.public_key)
        self.request = Nip46Request(secrets.token_hex(8), "sign_event", [NOTE]).to_text()
        self.payload = nip44.encrypt(self.request, self.conversation)
        self.answer = self.message.hex() * 5 + NOTE

    def plain(self) -> Steps:
        secret, peer, own = self.secret, self.client.public_key, self.signer.public_key
        assert _plain_decrypt(secret, peer, self.payload) == self.request.encode()
        assert nip44.decrypt(_plain_encrypt(secret, peer, self.answer), self.conversation) == self.answer
        assert verify(own, self.message, _plain_sign(secret, self.message))
        return (
            lambda: PublicKeyXOnly(peer).verify(self.signature, self.message),
            lambda: _plain_decrypt(secret, peer, self.payload),
            lambda: _plain_sign(secret, self.message),
            lambda: PublicKeyXOnly(own).verify(self.own, self.message),
            lambda: _plain_encrypt(secret, peer, self.answer),
            lambda: _plain_sign(secret, self.message),
        )

    def ours(self) -> Steps:
        peer, own = self.client.public_key, self.signer.public_key
        return (
            lambda: verify(peer, self.message, self.signature),
            lambda: nip44.decrypt(self.payload, self.conversation),
            lambda: self.signer.sign_unchecked(self.message),
            lambda: verify(own, self.message, self.own),
            lambda: nip44.encrypt(self.answer, self.conversation),
            lambda: self.signer.sign_unchecked(self.message),
        )


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
