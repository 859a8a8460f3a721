"""Listens on the channel layer for "something changed". The message is a hint and carries nothing: it sets a flag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from channels.layers import get_channel_layer

from bunker.changes import CONTROL_GROUP

log = structlog.get_logger(__name__)

REJOIN_SECONDS = 300.0
"""Membership of a group runs out in some layers, and is lost with the store's memory; so it is renewed."""
PAUSE_SECONDS = 2.0


class ControlListener:
    """Calls ``hint`` for each message of the control group. Never raises: without hints there is still the poll."""

    def __init__(self, hint: Callable[[], None]) -> None:
        self._hint = hint

    async def run(self) -> None:
        """Listen until cancelled."""
        layer = get_channel_layer()
        if layer is None:
            await asyncio.Event().wait()
        while True:
            try:
                await self._listen(layer)
            except Exception as error:  # loop top (worker): whatever the layer's store raises when it is away
                log.warning("control_listener_lost", error=type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self, layer: Any) -> None:
        channel = await layer.new_channel()  # why without a name of its own: bunker.relays.bridge
        try:
            while True:
                await layer.group_add(CONTROL_GROUP, channel)
                try:
                    async with asyncio.timeout(REJOIN_SECONDS):
                        while True:
                            await layer.receive(channel)
                            self._hint()
                except TimeoutError:
                    continue
        finally:
            await layer.group_discard(CONTROL_GROUP, channel)
