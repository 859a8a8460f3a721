"""A suspended tenant's open connections to the built-in relay end, and no new ones begin until it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bunker.relays.consumer import POLICY_VIOLATION, RelayConnection
from bunker.relays.hub import RelayHub
from tests.bunker.relays.support import CLIENT, DIRECT, OTHER_TENANT, PLAIN, TENANT, Out, Sink, client, make_hub, served

ME = CLIENT.public_key_hex


@pytest.fixture
async def hub() -> RelayHub:
    return make_hub(Sink())


@pytest.fixture(params=[DIRECT, PLAIN], ids=["direct", "plain"])
async def url(hub: RelayHub, request: Any) -> AsyncIterator[str]:
    async with served(hub, str(request.param)) as address:
        yield address


async def test_open_connections_end_within_a_second_and_others_stay(url: str, hub: RelayHub) -> None:
    async with client(url, "a.example") as one, client(url, "b.example") as other:
        await one.subscribe(p=[ME])
        await other.subscribe(p=[ME])
        hub.set_closed(TENANT, is_closed=True)
        with pytest.raises(ConnectionClosed) as ended:
            async with asyncio.timeout(1.0):
                while True:
                    await one.socket.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1008
        await other.subscribe("again", p=[ME])
        assert hub.connections == 1


async def test_no_connection_begins_until_the_tenant_is_back(url: str, hub: RelayHub) -> None:
    hub.set_closed(TENANT, is_closed=True)
    with pytest.raises(InvalidStatus):
        async with client(url, "a.example"):
            pass
    assert hub.connections == 0
    hub.set_closed(TENANT, is_closed=False)
    async with client(url, "a.example") as back:
        await back.subscribe(p=[ME])


async def test_a_session_that_ended_before_its_service_began_is_closed_all_the_same(hub: RelayHub) -> None:
    session = hub.open(OTHER_TENANT, "127.0.0.1", Out())
    assert session is not None
    hub.set_closed(OTHER_TENANT, is_closed=True)
    service = RelayConnection(hub, session, never, never)
    assert service._code == POLICY_VIOLATION
    service.handle(b'["REQ","x",{"#p":["%b"]}]' % ME.encode())
    assert not session.subscriptions


async def never(*_: Any) -> Any:
    raise AssertionError("nothing is read or sent")
