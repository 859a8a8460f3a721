"""Ways of naming two hosts at once, as bytes on a socket (threats W1): only the one that Host names is served."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from asgiref.sync import sync_to_async

from accounts.models import Tenant
from accounts.services import create_tenant
from keycast.asgi import application

from .conftest import ACTOR

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("_close_connections_of_the_async_thread"),
]
NEWS, CLUB = "The News", "The Club"


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


@pytest.fixture
async def port() -> AsyncIterator[int]:
    for slug, name in (("news", NEWS), ("club", CLUB)):
        await sync_to_async(create_tenant)(actor=ACTOR, slug=slug, name=name, host=f"{slug}.example")
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(application, lifespan="off", log_config=None, loop="none"))
    task = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield int(listening.getsockname()[1])
    server.should_exit = True
    await task
    listening.close()


async def ask(port: int, head: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode("latin-1") + b"\r\nConnection: close\r\n\r\n")
    answer = (await asyncio.wait_for(reader.read(), 20)).decode(errors="replace")
    writer.close()
    return int(answer.split(" ", 2)[1]) if answer else 400, answer


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\nHost: news.example\nHost: club.example",
        "GET / HTTP/1.1\nHost: news.example, club.example",
        "GET / HTTP/1.1\nHost: news.example club.example",
        "GET / HTTP/1.1\nHost: news.example@club.example",
        "GET / HTTP/1.1\nHost: ",
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\nHost : news.example",
        "GET / HTTP/1.1\nHost: news.example\n Host: club.example",
    ],
)
async def test_what_names_no_host_or_two_is_refused(port: int, head: str) -> None:
    status, answer = await ask(port, head)
    assert status in {400, 404}
    assert NEWS not in answer
    assert CLUB not in answer


@pytest.mark.parametrize(
    "head",
    [
        "GET http://club.example/ HTTP/1.1\nHost: news.example",
        "GET https://club.example:443/ HTTP/1.1\nHost: news.example",
        "GET / HTTP/1.1\nHost: news.example\nX-Forwarded-Host: club.example",
        "GET / HTTP/1.1\nHost: news.example\nForwarded: host=club.example",
        "GET / HTTP/1.1\nHost: news.example\nX-Host: club.example\nX-Original-Host: club.example",
        "GET //club.example/ HTTP/1.1\nHost: news.example",
        "GET /@club.example/ HTTP/1.1\nHost: news.example",
    ],
)
async def test_nothing_but_the_host_header_leads_to_a_tenant(port: int, head: str) -> None:
    status, answer = await ask(port, head)
    assert CLUB not in answer
    assert "club.example" not in answer
    assert status in {200, 400, 404}
    count = await sync_to_async(Tenant.objects.count)()
    assert count == 2
