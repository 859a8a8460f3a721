"""The fake bunker of the client's tests serves here too."""

from __future__ import annotations

from tests.keycast.nostr.client.conftest import bunker

__all__ = ["bunker"]
