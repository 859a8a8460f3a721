"""Drives rust-nostr's nostr-sdk (PyPI) as drive.mjs drives the libraries of npm: same lines in, same lines out."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import nostr_sdk as sdk

STEP_SECONDS = 20.0
LET_IN_SECONDS = 60.0
BURST_SECONDS = 150.0
REQUEST_SECONDS = 120.0
"""For the library: a thousand at once take it half a minute, as each that waits decrypts every answer."""
ASK_AGAIN_SECONDS = 4.0
ASKS_FOR_SECONDS = 20.0
PLAIN = "grüße 🫂\n"
Action = Callable[[], Awaitable[object]]
sessions: dict[str, tuple[sdk.Keys, sdk.NostrConnect]] = {}


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def connect(keys: sdk.Keys, address: str) -> sdk.NostrConnect:
    return sdk.NostrConnect(sdk.NostrConnectUri.parse(address), keys, timedelta(seconds=REQUEST_SECONDS), None)


async def sign(signer: sdk.NostrConnect, content: str, public_key: str, kind: int = 1) -> str:
    template = {"kind": kind, "content": content, "tags": [["t", "nöstr"]], "created_at": int(time.time())}
    unsigned = sdk.UnsignedEvent.from_json(json.dumps({"pubkey": public_key, **template}))
    event = await signer.sign_event_async(unsigned)
    assert event is not None
    assert event.verify(), "the signature is not valid"
    signed = json.loads(event.as_json())
    expected = {"pubkey": public_key, **template}
    assert {name: signed[name] for name in expected} == expected, signed
    return str(signed["id"])


async def refusal(signer: sdk.NostrConnect, public_key: str) -> None:
    said = ""
    try:
        await sign(signer, "never", public_key, kind=24133)
    except sdk.NostrSdkError as refused:
        said = str(refused)
    assert "24133" in said, f"the reason is not shown: {said}"


def methods(signer: sdk.NostrConnect, public_key: str) -> dict[str, Action | None]:
    peer = sdk.Keys.generate()
    ours = sdk.PublicKey.parse(public_key)
    them, secret = peer.public_key(), peer.secret_key()

    async def get_public_key() -> None:
        found = await signer.get_public_key_async()
        assert found
        assert found.to_hex() == public_key

    async def nip44_encrypt() -> None:
        assert sdk.nip44_decrypt(secret, ours, await signer.nip44_encrypt_async(them, PLAIN)) == PLAIN

    async def nip44_decrypt() -> None:
        payload = sdk.nip44_encrypt(secret, ours, PLAIN, sdk.Nip44Version.V2)
        assert await signer.nip44_decrypt_async(them, payload) == PLAIN

    async def nip04_encrypt() -> None:
        assert sdk.nip04_decrypt(secret, ours, await signer.nip04_encrypt_async(them, PLAIN)) == PLAIN

    async def nip04_decrypt() -> None:
        assert await signer.nip04_decrypt_async(them, sdk.nip04_encrypt(secret, ours, PLAIN)) == PLAIN

    return {
        "get_public_key": get_public_key,
        "ping": None,
        "sign_event": lambda: sign(signer, 'quote " slash / \\ line\nfeed 🫂', public_key),
        "nip44_encrypt": nip44_encrypt,
        "nip44_decrypt": nip44_decrypt,
        "nip04_encrypt": nip04_encrypt,
        "nip04_decrypt": nip04_decrypt,
        "switch_relays": None,
        "refusal": lambda: refusal(signer, public_key),
    }


async def keep_asking(signer: sdk.NostrConnect, public_key: str) -> None:
    ends = time.monotonic() + ASKS_FOR_SECONDS
    while True:
        try:
            await asyncio.wait_for(sign(signer, "again", public_key), ASK_AGAIN_SECONDS)
            return
        except (TimeoutError, sdk.NostrSdkError):
            if time.monotonic() > ends:
                raise
            await asyncio.sleep(0.5)


def cut_connections() -> None:
    """End every connection of this process without a close frame; the library's sockets are its own business."""
    cut = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.family in (socket.AF_INET, socket.AF_INET6):
                    found.shutdown(socket.SHUT_RDWR)
                    cut += 1
        except OSError:  # closed meanwhile, or listening
            continue
    assert cut, "there was nothing to cut"


class Obey:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.what, self.relay = given, given["do"], given["relay"]
        self.public_key = given.get("pubkey", "")

    async def step(self, name: str, action: Action | None, seconds: float = STEP_SECONDS) -> None:
        began, result = time.monotonic(), {"outcome": "no"}
        if action:
            try:
                await asyncio.wait_for(action(), seconds)
                result = {"outcome": "ok"}
            except Exception as error:  # whatever the library raises is the outcome
                result = {"outcome": "fails", "detail": str(error) or type(error).__name__}
        say(do=self.what, relay=self.relay, step=name, ms=round(1000 * (time.monotonic() - began)), **result)

    async def run(self) -> None:
        await getattr(self, self.what)()
        say(do=self.what, relay=self.relay, done=True)

    @property
    def signer(self) -> sdk.NostrConnect:
        return sessions[self.relay][1]

    async def bunker(self) -> None:
        keys = sdk.Keys.generate()

        async def begin() -> None:
            signer = connect(keys, self.given["url"])
            await signer.get_public_key_async()  # it connects at the first request
            sessions[self.relay] = keys, signer

        await self.step("bunker", begin)
        if self.relay in sessions:
            for name, action in methods(self.signer, self.public_key).items():
                await self.step(name, action)

    async def nostrconnect(self) -> None:
        async def begin() -> None:
            keys = sdk.Keys.generate()
            uri = (
                f"nostrconnect://{keys.public_key().to_hex()}?relay={self.given['address']}"
                f"&secret={secrets.token_hex(8)}&metadata={json.dumps({'name': 'nostr-sdk'})}"
            )
            signer = connect(keys, uri)
            connected = asyncio.ensure_future(signer.get_public_key_async())
            say(do=self.what, relay=self.relay, uri=uri)
            found = await connected
            assert found
            assert found.to_hex() == self.public_key
            await sign(signer, "let in", self.public_key)

        await self.step("nostrconnect", begin, LET_IN_SECONDS)

    async def tabs(self) -> None:
        async def both() -> None:
            second = connect(sessions[self.relay][0], self.given["url"])
            tabs = (self.signer, second)
            found = await asyncio.gather(*(sign(tabs[n % 2], f"tab {n}", self.public_key) for n in range(20)))
            assert len(set(found)) == len(found)

        await self.step("tabs", both)

    async def burst(self) -> None:
        async def all_at_once() -> None:
            peer, ours = sdk.Keys.generate(), sdk.PublicKey.parse(self.public_key)
            messages = [f"message {number}" for number in range(self.given["count"])]
            payloads = [sdk.nip44_encrypt(peer.secret_key(), ours, text, sdk.Nip44Version.V2) for text in messages]
            signer = connect(sdk.Keys.generate(), self.given["url"])
            await signer.get_public_key_async()
            read = await asyncio.gather(*(signer.nip44_decrypt_async(peer.public_key(), text) for text in payloads))
            assert read == messages

        await self.step("burst", all_at_once, BURST_SECONDS)

    async def cut(self) -> None:
        async def lose_it() -> None:
            signer = connect(sessions[self.relay][0], self.given["url"])
            await sign(signer, "before", self.public_key)
            cut_connections()
            await keep_asking(signer, self.public_key)

        async def begin_anew() -> None:
            await sign(connect(sessions[self.relay][0], self.given["url"]), "anew", self.public_key)

        await self.step("cut", lose_it, 2 * ASKS_FOR_SECONDS)
        await self.step("renewed", begin_anew)

    async def restart(self) -> None:
        await self.step("restart", lambda: keep_asking(self.signer, self.public_key), 2 * ASKS_FOR_SECONDS)

    async def logout(self) -> None:
        await self.step("logout", None)


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    say(ready=True)
    while line := await reader.readline():
        running.add(asyncio.ensure_future(Obey(json.loads(line)).run()))
    os._exit(0)  # the library's threads would hold the process


if __name__ == "__main__":
    asyncio.run(main())
