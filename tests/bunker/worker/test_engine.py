"""The top of the loop of requests: what fails there ends there."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from bunker.worker.engine import Engine
from bunker.worker.group_commit import CommitUncertain


def engine(*outcomes: Exception | None) -> tuple[Engine, list[str]]:
    """An engine whose recovery, and whose giving up, end so; and which of them were called."""
    called: list[str] = []
    made: Any = object.__new__(Engine)
    made._stats = SimpleNamespace(errors=Counter())

    def ending(name: str, outcome: Exception | None) -> Any:
        async def attempt(item: Any, fence: int) -> None:
            called.append(name)
            if outcome is not None:
                raise outcome

        return attempt

    made._resume, made._give_up = map(ending, ("resume", "give up"), outcomes)
    return made, called


@pytest.mark.parametrize(
    ("outcomes", "calls", "errors"),
    [
        ((ValueError(), KeyError()), ["resume", "give up"], {"ValueError": 1, "KeyError": 1}),
        ((ValueError(), None), ["resume", "give up"], {"ValueError": 1}),
        ((CommitUncertain(), None), ["resume"], {"commit-outcome-unknown": 1}),
        ((None, None), ["resume"], {}),
    ],
)
async def test_recovery_tries_once_then_gives_up_and_raises_nothing(
    outcomes: tuple[Exception | None, Exception | None], calls: list[str], errors: dict[str, int]
) -> None:
    tried, called = engine(*outcomes)
    item: Any = None
    await tried.resume(item, 1)
    assert called == calls
    assert tried._stats.errors == errors
