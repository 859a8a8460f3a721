"""The list of checks fits the product as it is; ``make mutants`` then shows that each is noticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.check import Check
from tests.mutants.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
THREATS = (ROOT / "docs/threats.md").read_text(encoding="utf-8")


def is_there(test: str) -> bool:
    """Whether a path, or an id ``path::function``, is one of the suite's."""
    path, _, name = test.partition("::")
    return (ROOT / path).exists() and (not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_is_where_the_list_says_and_can_be_taken_out(check: Check) -> None:
    code = (ROOT / check.path).read_text(encoding="utf-8")
    assert code.count(check.code) == 1
    ast.parse(code.replace(check.code, check.without))
    assert all(is_there(test) for test in check.tests)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_has_a_row_among_the_threats(check: Check) -> None:
    rows = [[cell.strip() for cell in line.split("|")] for line in THREATS.splitlines() if line.startswith("|")]
    assert any(check.threat in cells or any(cell.startswith(check.threat) for cell in cells) for cells in rows)


def test_no_two_checks_have_one_name() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
