"""One signer for all tests that do not hurt it, and both shapes of the service."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.keys.signing.isolated.support import SignerProcess, asking


@pytest.fixture(scope="session")
def shared_signer():
    """A signer that lives as long as the tests."""
    with tempfile.TemporaryDirectory(prefix="keycast-signer-") as folder, SignerProcess(Path(folder) / "s") as process:
        yield process


@pytest.fixture(params=["in this process", "outside"])
def shape(request):
    """The signing service in this process, and behind a socket."""
    socket = request.getfixturevalue("shared_signer").socket if request.param == "outside" else ""
    with asking(socket):
        yield request.param


@pytest.fixture
def outside(shared_signer):
    """The signing service behind a socket."""
    with asking(shared_signer.socket):
        yield shared_signer


@pytest.fixture
def own_signer(tmp_path):
    """A signer that the test may kill."""
    with SignerProcess(tmp_path / "own") as process, asking(process.socket):
        yield process
