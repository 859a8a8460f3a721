"""What every test shares."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

from tests import flush, plumbing


def pytest_configure(config: Any) -> None:
    flush.install()
    config.pluginmanager.register(plumbing.Plumbing())


# A busy machine is slow at drawing examples; that says nothing about the code under test.
settings.register_profile("keycast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keycast")
