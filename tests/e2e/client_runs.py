"""Real client libraries, each in a process of its own, are told what to do with a server, and report how it ended."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from tests.e2e.conftest import CLIENTS
from tests.e2e.live import LiveServer

T = TypeVar("T")
RELAYS = ("built-in", "another")
NODE = {
    "nostr-tools": "nostr-tools",
    "nostrify": "nostrify",
    "NDK 3": "ndk3",
    "NDK 2.12": "ndk2",
    "applesauce": "applesauce",
    "welshman": "welshman",
}
LIBRARIES = (*NODE, "nostr-sdk")
LONGEST_FIRST = ("nostr-sdk", "nostrify", "welshman", "applesauce", "NDK 3", "NDK 2.12", "nostr-tools")
BURST = 1000
LINE_BYTES = 1 << 20
ISSUE = """
 from accounts.models import Tenant, User
 from bunker.services import create_bunker_url
 from keycast.audit.entries import Actor
 from keys.services import create_key
 actor, tenant = Actor.command('test'), Tenant.objects.get()
 user = User.objects.get(email={email!r})
 for name in {names!r}:
  key = create_key(actor=actor, tenant=tenant, user=user, name=name, key_mode='encrypted')
  for relay in {relays!r}:
   url = create_bunker_url(actor=actor, key=key, policy_slug='full', name=name, relays=[relay])
   print(key.public_key, url.uri)
"""
APPROVE = """
 from bunker.services import approve_nostrconnect
 from django_scopes import scope
 from keycast.audit.entries import Actor
 from keycast.nostr.uris import NostrConnectUri
 from keys.models import PersonalKey
 for public_key, uri in {shown!r}:
  key = PersonalKey.objects.get(public_key=public_key)
  with scope(tenant=key.tenant_id):
   approve_nostrconnect(
    actor=Actor.command('test'), key=key, uri=NostrConnectUri.parse(uri), policy_slug='full'
   )
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: ``ok``, ``no`` (the library has no such thing) or ``fails``, with the reason."""

    outcome: str
    detail: str = ""
    milliseconds: int = 0


Found = dict[tuple[str, str, str], Outcome]
"""By library, relay and step."""
Show = Callable[[str, str], None]


@dataclass(slots=True)
class Client:
    """One library. ``given`` is what it needs to know for each relay."""

    name: str
    given: dict[str, dict[str, Any]]
    found: Found
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, name: str, given: dict[str, dict[str, Any]], found: Found) -> Self:
        program = ("node", "drive.mjs", NODE[name]) if name in NODE else (sys.executable, "nostr_sdk_driver.py")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*program, cwd=CLIENTS, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        client = cls(name, given, found, process)
        await client._said()
        return client

    async def do(self, what: str, show: Show | None = None, relays: Iterable[str] = RELAYS, **further: Any) -> None:
        """Have it done over each of these relays at once, to the end; ``show`` gets relay and nostrconnect:// URI."""
        assert self.process.stdin
        waiting = set(relays)
        for relay in relays:
            line = {"do": what, "relay": relay, **self.given[relay], **further}
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
        while waiting:
            said = await self._said()
            if "uri" in said:
                assert show
                show(said["relay"], said["uri"])
            elif "step" in said:
                outcome = Outcome(said["outcome"], said.get("detail", ""), said["ms"])
                self.found[self.name, said["relay"], said["step"]] = outcome
            else:
                waiting.discard(said["relay"])

    async def _said(self) -> dict[str, Any]:
        assert self.process.stdout
        line = await self.process.stdout.readline()
        assert line, f"the process that drives {self.name} has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    async def end(self) -> None:
        self.process.kill()
        await self.process.communicate()


def issue(server: LiveServer, addresses: dict[str, str], names: Iterable[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """A key for each name, and a bunker URL for each relay: by name and relay what a client must know."""
    code = ISSUE.format(email=server.user["email"], names=list(names), relays=list(addresses.values()))
    lines = iter(server.python(code).splitlines())
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names:
        for relay, address in addresses.items():
            public_key, url = next(lines).split()
            made.setdefault(name, {})[relay] = {"pubkey": public_key, "url": url, "address": address}
    return made


@asynccontextmanager
async def clients(
    server: LiveServer, other_relay: str, found: Found, names: Iterable[str] = LIBRARIES
) -> AsyncIterator[list[Client]]:
    """All of them, started, each with a key of its own."""
    given = issue(server, dict(zip(RELAYS, (server.relay_url, other_relay), strict=True)), names)
    started = await together(Client.start(name, given[name], found) for name in names)
    try:
        yield started
    finally:
        await together(client.end() for client in started)


async def let_in(server: LiveServer, running: list[Client]) -> None:
    """Each shows its nostrconnect:// URIs, if it can; when all have, their owner lets them in."""
    shown: list[tuple[str, str]] = []
    silent = {(client.name, relay) for client in running for relay in RELAYS}
    all_shown = asyncio.Event()

    def heard_of(*whom: tuple[str, str]) -> None:
        silent.difference_update(whom)
        if not silent:
            all_shown.set()

    async def connect(client: Client) -> None:
        def show(relay: str, uri: str) -> None:
            shown.append((client.given[relay]["pubkey"], uri))
            heard_of((client.name, relay))

        await client.do("nostrconnect", show)
        heard_of(*((client.name, relay) for relay in RELAYS))

    async def approve() -> None:
        await all_shown.wait()
        await asyncio.to_thread(server.python, APPROVE.format(shown=shown))

    await together((approve(), *map(connect, running)))


async def everything(server: LiveServer, other_relay: str) -> Found:
    """Run all libraries through all steps."""
    found: Found = {}
    async with clients(server, other_relay, found) as running:
        await together(client.do("bunker") for client in running)
        await let_in(server, running)
        await together(client.do("tabs") for client in running)
        server.restart()  # by this thread: the server ends with the one that started it
        await together((bursts(server, found), *map(_reconnect, running)))
    return found


async def _reconnect(client: Client) -> None:
    """To the restarted server, then after its connections were cut. Mostly waits."""
    await client.do("restart")
    await client.do("cut", relays=RELAYS[:1])
    await client.do("logout")


async def bursts(server: LiveServer, found: Found) -> None:
    """Each with a thousand requests at once, in a fresh process: some are of no use after it."""
    given = issue(server, {RELAYS[0]: server.relay_url}, LIBRARIES)
    two = asyncio.Semaphore(2)  # they compute: more at a time would only wait for each other, and time out

    async def one(name: str) -> None:
        async with two:
            client = await Client.start(name, given[name], found)
            try:
                await client.do("burst", relays=RELAYS[:1], count=BURST)
            finally:
                await client.end()

    await together(one(name) for name in LONGEST_FIRST)


async def together(doing: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all; the first error ends the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in doing]
    return [task.result() for task in tasks]
