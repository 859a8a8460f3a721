"""What a strict content security policy and a screen reader need of the templates and assets."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.paths import ROOT

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OWN_SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_no_template_has_inline_style_or_script(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"\son[a-z]+\s*=", text)
    assert "<style" not in text
    assert "|safe" not in text or path.name == "field.html"
    for tag in re.findall(r"<script[^>]*>", text):
        assert "src=" in tag or 'type="application/json"' in tag
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "csrf_token" in form, form


@pytest.mark.parametrize("path", OWN_SCRIPTS, ids=lambda path: path.name)
def test_no_script_evaluates_text_or_writes_markup(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|document\.write|insertAdjacentHTML", text)


def test_htmx_is_the_file_that_was_vendored() -> None:
    folder = ROOT / "static" / "vendor" / "htmx"
    said = re.search(r"sha256 ([0-9a-f]{64})", (folder / "README.md").read_text())
    assert said
    assert hashlib.sha256((folder / "htmx.min.js").read_bytes()).hexdigest() == said[1]


def _tokens(block: str) -> dict[str, tuple[float, float, float]]:
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{3,6});", block)
    return {name: _rgb(value) for name, value in found}


def _rgb(value: str) -> tuple[float, float, float]:
    value = "".join(digit * 2 for digit in value) if len(value) == 3 else value
    red, green, blue = (int(value[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def _luminance(rgb: tuple[float, float, float]) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG 2.2 contrast ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


PAIRS = [
    *[(ink, ground, 4.5) for ink in ("ink", "muted", "accent", "bad") for ground in ("paper", "surface", "raised")],
    *[(name, f"{name}-soft", 4.5) for name in ("accent", "good", "warn", "bad")],
    *[("ink", f"{name}-soft", 4.5) for name in ("accent", "good", "warn", "bad")],
    ("muted", "accent-soft", 4.5),
    ("on-accent", "accent", 4.5),
    ("on-accent", "accent-strong", 4.5),
    ("field", "surface", 3),
    ("focus", "paper", 3),
    ("focus", "surface", 3),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_colours_can_be_told_apart(theme: str, ink: str, ground: str, least: float) -> None:
    style = (ROOT / "static" / "css" / "keycast.css").read_text()
    selector = r":root \{" if theme == "light" else r':root\[data-theme="dark"\] \{'
    block = re.search(selector + r"(.*?)\n\}", style, re.DOTALL)
    assert block
    tokens = _tokens(block[1])
    assert contrast(tokens[ink], tokens[ground]) >= least


def test_the_dark_theme_is_the_same_whether_chosen_or_inherited() -> None:
    style = (ROOT / "static" / "css" / "keycast.css").read_text()
    inherited = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', style, re.DOTALL)
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', style, re.DOTALL)
    assert inherited
    assert chosen
    assert _tokens(inherited[1]) == _tokens(chosen[1])
