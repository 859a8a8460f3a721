"""The files of deploy/, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.paths import ROOT

COMPOSE = ("compose.yaml", "compose.scaled.yaml")
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
CHART = ROOT / "deploy" / "helm" / "keycast"


def compose(name: str) -> dict[str, Any]:
    """A compose file, with YAML's anchors and merges resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def services() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, name, service) of every service."""
    for file in COMPOSE:
        for name, service in compose(file)["services"].items():
            yield file, name, service


def chart_text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir()))


def settings_in_chart() -> set[str]:
    return set(re.findall(r"\{name: ([A-Z][A-Z0-9_]+), value:", chart_text()))


def settings_in_units() -> set[str]:
    found: set[str] = set()
    for unit in UNITS:
        for line in unit.read_text(encoding="utf-8").splitlines():
            if line.startswith("Environment="):
                found |= set(re.findall(r"([A-Z][A-Z0-9_]+)=", line.removeprefix("Environment=")))
    return found


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest) of each line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]


def last(instruction: str) -> str:
    """What the image's last line of this kind says."""
    return [rest for word, rest in dockerfile() if word == instruction][-1]


def executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)
