"""The fake bunker of the client's tests serves here too."""

from __future__ import annotations

from tests.client.conftest import bunker

__all__ = ["bunker"]
