"""The import contracts of pyproject.toml notice a line on the wrong floor, and a package that nobody gave one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.paths import ROOT

PRODUCT = ("keycast", "accounts", "keys", "bunker")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product, to plant lines in."""
    copy = tmp_path_factory.mktemp("house")
    for name in PRODUCT:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.html"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)


def test_every_package_of_the_repository_is_known_to_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {found.parent.name for found in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(contracts["root_packages"]) == set(PRODUCT)


@pytest.mark.slow
def test_an_import_of_an_upper_floor_is_refused(house: Path) -> None:
    planted = house / "accounts" / "quotas.py"
    before = planted.read_text()
    planted.write_text(f"{before}\nfrom keys.models import PersonalKey\n")
    try:
        found = lint(house)
    finally:
        planted.write_text(before)
    assert found.returncode == 1
    assert "accounts.quotas -> keys.models" in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("package", ["keycast/misc", "keys/misc", "accounts/misc", "bunker/misc"])
def test_a_package_without_a_floor_is_refused(house: Path, package: str) -> None:
    planted = house / package
    planted.mkdir()
    (planted / "__init__.py").touch()
    try:
        found = lint(house)
    finally:
        shutil.rmtree(planted)
    assert found.returncode == 1
    assert package.replace("/", ".") in found.stdout
