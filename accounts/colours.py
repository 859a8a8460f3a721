"""A tenant's colour: readable on our pages, or refused (WCAG 2.2, success criterion 1.4.3).

Pure arithmetic on ``#rrggbb``. In dark mode the same hue is used, lightened until it is readable there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

READABLE: Final = 4.5
WHITE: Final = "#ffffff"
PAPER: Final = "#f7f6f2"
DARK_SURFACE: Final = "#1e252e"
DARK_INK: Final = "#0b0f14"
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class AccentColours:
    """What the style sheet takes in place of its own accent, for one of the two modes."""

    accent: str
    strong: str
    soft: str
    on_accent: str


def is_colour(text: str) -> bool:
    return _COLOUR.fullmatch(text) is not None


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def is_readable(accent: str) -> bool:
    """White letters on it, and it as letters on our paper and on its own tint, can all be read."""
    return all(contrast(accent, ground) >= READABLE for ground in (WHITE, PAPER, light(accent).soft))


def light(accent: str) -> AccentColours:
    return AccentColours(accent, mix(accent, "#000000", 0.25), mix(accent, WHITE, 0.9), WHITE)


def dark(accent: str) -> AccentColours:
    """The hue made light enough for a dark page; every colour gets there."""
    soft = mix(accent, DARK_SURFACE, 0.8)
    share = 0.0
    shade = accent
    while min(contrast(shade, DARK_SURFACE), contrast(shade, soft), contrast(shade, DARK_INK)) < READABLE and share < 1:
        share += 0.05
        shade = mix(accent, WHITE, share)
    return AccentColours(shade, mix(shade, WHITE, 0.4), soft, DARK_INK)


def mix(colour: str, other: str, share: float) -> str:
    """``colour`` with ``share`` (0 to 1) of ``other`` in it."""
    pairs = zip(_parts(colour), _parts(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * min(share, 1.0)):02x}" for a, b in pairs)


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(part / 255) for part in _parts(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.03928 else float(((value + 0.055) / 1.055) ** 2.4)
