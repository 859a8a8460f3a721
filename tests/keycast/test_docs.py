"""Documentation speaks of things that are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from django.core.management import get_commands

from keycast.checks import RULES
from tests.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def wrong_on_each_page(find: Callable[[Path, str], object]) -> dict[str, object]:
    """What ``find`` objects to, by the page that it is on."""
    found = {page: find(page, page.read_text(encoding="utf-8")) for page in PAGES}
    return {str(page.relative_to(ROOT)): wrong for page, wrong in found.items() if wrong}


def test_links_lead_somewhere() -> None:
    def missing(page: Path, text: str) -> list[str]:
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        return [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert wrong_on_each_page(missing) == {}


def test_commands_exist() -> None:
    known = get_commands().keys()
    assert wrong_on_each_page(lambda _, text: set(re.findall(r"manage\.py ([a-z0-9_]+)", text)) - known) == {}


def test_settings_exist() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")

    def unknown(_: Path, text: str) -> list[str]:
        named = set(re.findall(r"\bKEYCAST_[A-Z0-9_]+\b", text))
        return [name for name in named if name.removesuffix("_FILE") not in example]

    assert wrong_on_each_page(unknown) == {}


def test_check_ids_exist() -> None:
    known = {rule.id for rule in RULES}
    assert wrong_on_each_page(lambda _, text: set(re.findall(r"keycast\.[EW]\d{3}", text)) - known) == {}


def test_files_named_in_the_text_exist() -> None:
    def missing(_: Path, text: str) -> list[str]:
        named = re.findall(r"`((?:keycast|accounts|keys|bunker|tests|docs|templates|static)/[\w./-]+)`", text)
        return [name for name in named if not (ROOT / name.rstrip("/")).exists()]

    assert wrong_on_each_page(missing) == {}


def test_lines_are_no_longer_than_the_codes() -> None:
    def long(_: Path, text: str) -> list[str]:
        return [line for line in text.splitlines() if len(line) > 130 and not line.startswith(("|", " "))]

    assert wrong_on_each_page(long) == {}


def test_decisions_are_numbered_once() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")]
    assert sorted(set(numbers)) == sorted(numbers)
