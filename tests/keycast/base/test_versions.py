"""The libraries that are installed are good enough, and the table says so for the right reasons."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from keycast.base.versions import BOUNDS, VersionRange, as_numbers, outside, problems


def test_what_is_installed_is_within_bounds() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("installed", "is_outside"),
    [("1.9", True), ("1.10", False), ("1.10.1", False), ("2", True), ("2.0rc1", True), ("1.10rc1", False)],
)
def test_versions_compare_as_numbers(installed: str, is_outside: bool) -> None:
    bound = VersionRange("thing", "1.10", "why", below="2")
    assert bool(outside(bound, lambda _: installed)) is is_outside


def missing(_: str) -> str:
    raise PackageNotFoundError


def test_a_missing_library_is_outside_unless_optional() -> None:
    assert outside(VersionRange("thing", "1", "why"), missing)
    assert outside(VersionRange("thing", "1", "why", optional=True), missing) is None


def test_redis_8_is_refused() -> None:
    bound = next(bound for bound in BOUNDS if bound.package == "redis")
    assert "idle" in str(outside(bound, lambda _: "8.0.1"))


def test_letters_end_a_part() -> None:
    assert as_numbers("65.19.4") == (65, 19, 4)
    assert as_numbers("4rc1.2") == (4, 2)
