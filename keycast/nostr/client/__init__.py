"""A NIP-46 client for any bunker: what our own commands, the demo and the benchmark speak with. No Django import."""

from __future__ import annotations

from keycast.nostr.client.bunker import BunkerClient
from keycast.nostr.client.errors import (
    BadAnswer,
    BadBunkerUrl,
    BadClientKey,
    BunkerRefused,
    ClientError,
    NoAnswer,
    RelaysRefused,
    RelaysUnreachable,
)

__all__ = [
    "BadAnswer",
    "BadBunkerUrl",
    "BadClientKey",
    "BunkerClient",
    "BunkerRefused",
    "ClientError",
    "NoAnswer",
    "RelaysRefused",
    "RelaysUnreachable",
]
