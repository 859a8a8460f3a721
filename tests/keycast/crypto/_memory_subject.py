"""The process that ``test_memory`` looks into: takes a secret, uses it in every way, wipes it, and waits to be read.

The secret arrives on standard input straight into a bytearray, so that nothing but the code under test copies it.
"""

from __future__ import annotations

import os
import sys

from keycast.crypto import aead
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip04, nip44, nip49


def receive() -> SecretBytes:
    buffer = bytearray(32)
    if os.readv(0, [buffer]) != 32:
        raise SystemExit("no secret")
    return SecretBytes.adopt(buffer)


def pause(word: str) -> None:
    os.write(1, word.encode() + b"\n")
    os.read(0, 1)


def use(secret: SecretBytes, peer: bytes) -> list[object]:
    """Everything that the product does with a secret key; returns what it would keep cached."""
    keypair = Keypair.from_secret(secret)
    conversation = nip44.conversation_key(keypair, peer)
    for _ in range(20):
        keypair.sign(os.urandom(32))
        nip44.decrypt(nip44.encrypt("hello", conversation), conversation)
    with nip04.shared_key(secret, peer) as shared:
        nip04.decrypt(nip04.encrypt("hello", shared), shared)
    with SecretBytes.random(32) as sealing:
        blob = aead.seal(sealing, secret, b"place")
        opened = aead.open_into(sealing, blob, b"place")
    with nip49.decrypt(nip49.encrypt(secret, "password", log_n=4), "password") as imported:
        Keypair.from_secret(imported).wipe()
    copy = keypair.secret()
    return [keypair, conversation, opened, copy]


def main() -> None:
    peer = bytes.fromhex(sys.argv[1])
    secret = receive()
    kept = use(secret, peer)
    pause("open")
    secret.wipe()
    for item in kept:
        item.wipe()  # type: ignore[attr-defined]
    pause("wiped")
    for item in [another := SecretBytes.random(32), *use(another, peer)]:
        item.wipe()  # type: ignore[attr-defined]
    pause("went on")


main()
