"""A tenant's colour can be read wherever it is used, in light and in dark, or it is refused (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.colours import DARK_SURFACE, PAPER, READABLE, WHITE, contrast, dark, is_colour, is_readable, light

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize("text", ["", "red", "#fff", "#FFFFFF", "#12345g", "#1234567", "#123456\n", " #123456"])
def test_what_is_no_colour_is_none(text: str) -> None:
    assert not is_colour(text)


def test_contrast_is_that_of_the_specification() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#1d5c58", "#1d5c58") == 1


@pytest.mark.parametrize(("colour", "expected"), [("#1d5c58", True), ("#ffff00", False), ("#777777", False)])
def test_pale_colours_are_refused(colour: str, expected: bool) -> None:
    assert is_readable(colour) is expected


@given(COLOURS)
def test_every_shade_of_an_accepted_colour_is_readable(colour: str) -> None:
    if is_readable(colour):
        shades = light(colour)
        for ground in (WHITE, PAPER, shades.soft):
            assert contrast(shades.accent, ground) >= READABLE
            assert contrast(shades.strong, ground) >= READABLE
        assert contrast(shades.on_accent, shades.strong) >= READABLE


@given(COLOURS)
def test_every_colour_is_made_readable_in_the_dark(colour: str) -> None:
    shades = dark(colour)
    for ground in (DARK_SURFACE, shades.soft, shades.on_accent):
        assert contrast(shades.accent, ground) >= READABLE
    assert contrast(shades.on_accent, shades.strong) >= READABLE
