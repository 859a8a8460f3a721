"""What every test shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import flush, leftovers, plumbing, process_state, template_database
from tests.mails import mails_leave_at_once

__all__ = ["mails_leave_at_once"]


def pytest_configure(config: Any) -> None:
    gc.disable()  # until tests/plumbing.py has seen everything collected: modules and tests are no garbage
    flush.install()
    template_database.install(config)
    config.pluginmanager.register(plumbing.Plumbing())
    config.pluginmanager.register(leftovers.Leftovers())
    config.pluginmanager.register(process_state.ProcessState())


# A busy machine is slow at drawing examples; that says nothing about the code under test.
settings.register_profile("keycast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keycast")


@pytest.fixture(scope="session", autouse=True)
def signer_of_the_suite() -> Iterator[None]:
    """With KEYCAST_TEST_SIGNER=remote: the signer that the tests of this process ask."""
    if not plumbing.SIGNS_ELSEWHERE:
        yield
        return
    from tests.keys.signing.isolated.support import SignerProcess  # needs the settings

    socket = Path(os.environ["KEYCAST_SIGNER_SOCKET"])
    with SignerProcess(socket.with_suffix(""), socket=socket):
        yield
