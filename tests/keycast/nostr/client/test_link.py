"""The client's websocket to a relay on its own machine, also where nothing resolves its name and proxies are set."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from keycast.nostr.client.link import ClientRelayConnection


async def ready(url: str) -> None:
    connection = ClientRelayConnection(url, {}, lambda _: None, lambda *_: ("", ""))
    try:
        await connection.ready.wait()
    finally:
        await connection.close()


async def says_that_it_has_no_more(client: ServerConnection) -> None:
    async for frame in client:
        await client.send(msgspec.json.encode(["EOSE", msgspec.json.decode(frame)[1]]).decode())


@pytest.fixture
async def port():
    async with serve(says_that_it_has_no_more, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@pytest.mark.parametrize("host", ["localhost", "relay.localhost"])
async def test_localhost_is_this_machine_where_nothing_resolves_the_name(host, port, monkeypatch):
    async def unknown(host, *arguments, **options):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    await ready(f"ws://{host}:{port}/")


async def test_no_proxy_is_asked_for_this_machine(port, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    await ready(f"ws://127.0.0.1:{port}/")
