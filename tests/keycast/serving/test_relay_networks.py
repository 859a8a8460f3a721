"""The built-in relay counts an IPv6 client by its /64, as the server does."""

from __future__ import annotations

import asyncio
from typing import Any

from bunker.relays.consumer import RelayConsumer
from tests.bunker.relays.support import make_hub


async def tenant(host: str) -> str:
    return "a" * 32


async def test_another_address_of_the_same_network_is_no_other_client() -> None:
    hub = make_hub(None, connections_per_ip=1)
    consumer = RelayConsumer(hub, tenant)
    answers: list[str] = []

    async def connect(address: str) -> None:
        told = [{"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            return told.pop() if told else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            answers.append(f"{address} {message['type']}")

        scope = {"type": "websocket", "headers": [(b"host", b"a.example")], "client": (address, 5), "extensions": {}}
        await consumer(scope, receive, send)

    first = asyncio.create_task(connect("2001:db8:1:2::1"))
    while not answers:
        await asyncio.sleep(0)
    await connect("2001:db8:1:2:3::4")
    third = asyncio.create_task(connect("2001:db8:1:3::1"))
    while len(answers) < 3:
        await asyncio.sleep(0)
    assert answers == [
        "2001:db8:1:2::1 websocket.accept",
        "2001:db8:1:2:3::4 websocket.close",
        "2001:db8:1:3::1 websocket.accept",
    ]
    for task in (first, third):
        task.cancel()
    await asyncio.gather(first, third, return_exceptions=True)
    assert hub.connections == 0
