"""The admin's small world, for pages about the whole deployment."""

from __future__ import annotations

from tests.keycast.console.conftest import operator, operator_client, platform, world

__all__ = ["operator", "operator_client", "platform", "world"]
