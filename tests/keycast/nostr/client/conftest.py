"""A fake bunker for each test."""

from __future__ import annotations

import pytest_asyncio

from tests.keycast.nostr.client.fake_bunker import FakeBunker


@pytest_asyncio.fixture
async def bunker():
    async with FakeBunker().running() as running:
        yield running
