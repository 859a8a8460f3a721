"""Documentation speaks of things that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from keycast.checks import RULES
from tests.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_commands_exist(page: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z0-9_]+)", page.read_text(encoding="utf-8")))
    assert named - get_commands().keys() == set()


def test_settings_exist(page: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"\bKEYCAST_[A-Z0-9_]+\b", page.read_text(encoding="utf-8")))
    assert [name for name in named if name.removesuffix("_FILE") not in example] == []


def test_check_ids_exist(page: Path) -> None:
    named = set(re.findall(r"keycast\.[EW]\d{3}", page.read_text(encoding="utf-8")))
    assert named - {rule.id for rule in RULES} == set()


def test_files_named_in_the_text_exist(page: Path) -> None:
    named = re.findall(r"`((?:keycast|accounts|keys|bunker|tests|docs|templates|static)/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name.rstrip("/")).exists()] == []


def test_lines_are_no_longer_than_the_codes(page: Path) -> None:
    long = [
        line
        for line in page.read_text(encoding="utf-8").splitlines()
        if len(line) > 130 and not line.startswith(("|", " "))
    ]
    assert long == []


def test_decisions_are_numbered_once() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")]
    assert sorted(set(numbers)) == sorted(numbers)
