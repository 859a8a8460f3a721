"""Other people's scripts are the files that their README says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.paths import ROOT

FOLDERS = sorted((ROOT / "static" / "vendor").iterdir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_vendored_script_has_its_licence_and_its_sum(folder: Path) -> None:
    (script,) = folder.glob("*.js")
    said = re.search(r"sha256 ([0-9a-f]{64})", (folder / "README.md").read_text())
    assert said
    assert hashlib.sha256(script.read_bytes()).hexdigest() == said[1]
    assert (folder / "LICENSE").read_text().strip()
