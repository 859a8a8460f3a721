"""Signers and providers that misbehave."""

from __future__ import annotations

import threading
import time

from keycast.crypto.schnorr import Keypair
from keys.refs import Capabilities


class FakeSigner:
    """Returns whatever signature it was given; counts what it is asked."""

    def __init__(self, signature: bytes | None = None, keypair: Keypair | None = None) -> None:
        self.signature = signature
        self.keypair = keypair
        self.seen: list[object] = []
        self.forgotten: list[object] = []

    def capabilities(self, key):
        return Capabilities(name="Fake", sign=True, ecdh=False, imports=False)

    async def sign_event_id(self, key, event, event_id, asked=None):
        self.seen.append((event, event_id))
        return self.signature if self.keypair is None else self.keypair.sign(event_id)

    async def crypt(self, key, method, peer, text, client="", asked=None):
        raise NotImplementedError

    def forget(self, key_id):
        self.forgotten.append(key_id)

    def forget_all(self):
        self.forgotten.append("all")


class SlowProvider:
    """A provider behind a network: blocks, counts its calls, and can fail."""

    name = "local"
    blocking = True

    def __init__(self, inner, delay=0.05, failure=None):
        self.inner, self.delay, self.failure = inner, delay, failure
        self.calls = 0
        self.threads = set()

    def unwrap(self, blob, **options):
        self.calls += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return self.inner.unwrap(blob, **options)
