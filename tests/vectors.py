"""Where test vectors come from: a folder of files, any corpus of the same form.

``KEYCAST_TEST_VECTORS`` names the folder (default ``../shared/vectors``); files made for this project are found in
``tests/vectors`` too. A missing file skips its tests and says so; when the folder was named and ``KEYCAST_TEST_ALL=1``
is set, it fails them.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MADE_HERE = ROOT / "tests" / "vectors"
NAMED = os.environ.get("KEYCAST_TEST_VECTORS", "")
FOLDER = Path(NAMED) if NAMED else ROOT.parent / "shared" / "vectors"


class MissingVectors(Exception):
    """The file is in neither folder."""


def path(name: str) -> Path:
    """The file called ``name``. Raises MissingVectors, or fails when the folder was named and everything must run."""
    if (FOLDER / name).is_file():
        return FOLDER / name
    if NAMED and os.environ.get("KEYCAST_TEST_ALL") == "1":
        raise FileNotFoundError(f"KEYCAST_TEST_VECTORS={NAMED} has no {name}")
    if (MADE_HERE / name).is_file():
        return MADE_HERE / name
    raise MissingVectors(f"no vectors {name} in {FOLDER}: set KEYCAST_TEST_VECTORS")


@cache
def load(name: str) -> Any:
    """The parsed content of a JSON file, or the rows of a CSV file as dictionaries."""
    file = path(name)
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    return json.loads(file.read_text(encoding="utf-8"))


def load_or_skip(name: str) -> Any:
    """Like ``load``, inside a test."""
    try:
        return load(name)
    except MissingVectors as missing:
        pytest.skip(str(missing))


def rows(name: str, pick: Callable[[Any], Iterable[Any]], label: Callable[[Any], object] | None = None) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize``: one for each row that ``pick`` finds in the file."""
    try:
        found = list(pick(load(name)))
    except MissingVectors as missing:
        return [_skipped(str(missing))]
    if not found:
        return [_skipped(f"{name} has no rows of this kind")]
    return [pytest.param(row, id=str(label(row) if label else number)[:80]) for number, row in enumerate(found)]


def _skipped(reason: str) -> Any:
    return pytest.param(None, marks=pytest.mark.skip(reason=reason), id="missing")
