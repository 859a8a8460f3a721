"""What every test shares."""

from __future__ import annotations

from typing import Any

from tests import flush


def pytest_configure(config: Any) -> None:
    flush.install()
