"""Names and reasons become one printable line, whoever typed them."""

from __future__ import annotations

import pytest

from keycast.base.text import one_line


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  two   words ", "two words"),
        ("line\nbreak\ttab\x0bfeed", "line break tab feed"),
        ("null\x00 and \u202eright to left", "null and right to left"),
        ("par\u2029agraph\u00a0space", "par agraph space"),
        ("\ud800lone", "lone"),
        ("\u200b\u200d", ""),
        ("👩 ok", "👩 ok"),
    ],
)
def test_what_does_not_print_is_dropped_and_what_separates_becomes_a_space(typed: str, kept: str) -> None:
    assert one_line(typed, 100) == kept


def test_no_more_is_kept_than_asked_for_and_no_more_looked_at_than_four_times_that() -> None:
    assert one_line("ab cd", 3) == "ab"
    assert one_line("\x00" * 400 + "late", 100) == ""
