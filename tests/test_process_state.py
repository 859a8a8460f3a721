"""Nothing that one test did to this process is told to the next one."""

from __future__ import annotations

from importlib import import_module
from uuid import uuid4

import pytest

from keycast.audit import journal_writer
from keycast.base import service_status
from keys.lifecycle import damage
from keys.signing.isolated import access
from tests import process_state


def test_failures_answers_and_alerts_of_a_test_before_are_forgotten() -> None:
    held = service_status.status_of("a signer")
    held.bad("Unavailable")
    damage._alerted_at[uuid4()] = 1.0
    access._seen[:] = [(1.0, "not there")]
    journal_writer._checked_at = 1.0
    process_state.reset()
    assert service_status.report() == []
    assert (damage._alerted_at, access._seen, journal_writer._checked_at) == ({}, [], None)
    held.good()
    assert [status["name"] for status in service_status.report()] == ["a signer"], "callers keep what they hold"


@pytest.mark.parametrize("name", process_state.RESET)
def test_each_module_that_forgets_is_there(name: str) -> None:
    process_state.RESET[name](import_module(name))
