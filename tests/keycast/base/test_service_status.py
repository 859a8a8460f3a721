"""What a process knows of the services it calls: their last answers, under one name each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from keycast.base import service_status
from keycast.base.service_status import status_of
from keys.hsm.circuit_breaker import FAILURES, Breaker
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.signing.wire.lines import ConnectionErrors, RequestConnections


@pytest.fixture(autouse=True)
def nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_status, "_statuses", {})


def told(name: str) -> dict[str, Any]:
    return next(each for each in service_status.report() if each["name"] == name)


def test_a_service_that_nobody_called_is_not_told_of() -> None:
    Breaker("HSM")
    assert service_status.report() == []


def test_a_breaker_tells_of_answers_failures_and_that_it_is_open() -> None:
    breaker = Breaker("HSM")
    breaker.succeeded()
    assert told("HSM")["good_at"] > 0
    assert not told("HSM")["open"]
    for _ in range(FAILURES):
        breaker.failed()
    assert told("HSM")["open"]
    assert told("HSM")["bad_at"] > 0


def test_short_lived_callers_share_one_status() -> None:
    status_of("HSM").good()
    status_of("HSM")
    assert told("HSM")["good_at"] > 0
    assert len(service_status.report()) == 1


async def test_a_line_that_cannot_be_opened_is_a_failure_by_its_class_alone() -> None:
    async def refuse(loop: asyncio.AbstractEventLoop, frames: Callable[[], Any]) -> None:
        raise CosignerUnavailable("at /run/secret.sock")

    failures = ConnectionErrors(CosignerUnavailable, CosignerUnavailable)
    lines: RequestConnections[Any] = RequestConnections(
        refuse, lambda message: b"", lambda frame: None, failures, 1, status_of("Co-signer")
    )
    with pytest.raises(CosignerUnavailable):
        await lines.ask(lambda number: None, 1.0)
    assert told("Co-signer")["error"] == "CosignerUnavailable"
    assert "secret" not in str(service_status.report())
