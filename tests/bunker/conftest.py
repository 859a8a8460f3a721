"""A running worker for tests that need one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from bunker.worker.runtime import BunkerWorker
from tests.bunker.support import Client, FakePool, FakePort, Home, issue, make_home

Running = tuple[BunkerWorker, FakePort]


@asynccontextmanager
async def running_worker(
    port: FakePort | None = None, *, is_alone: bool = True, **options: Any
) -> AsyncIterator[Running]:
    """A worker that serves until the block ends."""
    port = port or FakePort()
    worker = BunkerWorker(port=port, pool=options.pop("pool", None) or FakePool(), **options)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    ready = asyncio.create_task(worker.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=15)
    if task.done():
        task.result()
    try:
        while is_alone and len(worker.holding.servable()) < 64:
            await asyncio.sleep(0.01)
        yield worker, port
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def worker(transactional_db: None) -> AsyncIterator[Running]:
    async with running_worker() as running:
        yield running


@pytest.fixture
def start_worker(transactional_db: None) -> Callable[..., AbstractAsyncContextManager[Running]]:
    return running_worker


@pytest.fixture
async def home(transactional_db: None) -> Home:
    return await sync_to_async(make_home)()


async def connected(running: Running, home: Home, policy: str = "full", secret: str = "", **options: Any) -> Client:
    """A client that has just paired with ``home``'s signer."""
    worker, port = running
    _, pairing_secret = await sync_to_async(lambda: issue(home, policy, **options))()
    await worker.reconciler.look()
    client = Client(port, home.transport.public_key, secret)
    answer = await client.ask("connect", home.transport.public_key, pairing_secret)
    assert answer.get("result") == "ack", answer
    return client
