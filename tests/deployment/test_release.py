"""deploy/release: a release is refused before anything is changed, and says of itself what was made of which commit."""

from __future__ import annotations

import datetime
import hashlib
import os
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy" / "release"))
REFUSED = RELEASE["ReleaseRefused"]
TODAY = datetime.date(2026, 12, 1)
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- A thing.

## [0.2.0] - 2026-11-01

- An older thing.
"""


@pytest.mark.parametrize(
    ("text", "version", "says"),
    [
        (CHANGELOG, "0.2.0", "not newer than 0.2.0"),
        (CHANGELOG, "0.1.9", "not newer"),
        (CHANGELOG, "0.3", "no version of the form"),
        (CHANGELOG, "v0.3.0", "no version of the form"),
        (CHANGELOG, "0.3.0; rm", "no version of the form"),
        (CHANGELOG.replace("- A thing.\n", ""), "0.3.0", "nothing under Unreleased"),
        ("# Changelog\n", "0.3.0", "nothing under Unreleased"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(text: str, version: str, says: str) -> None:
    with pytest.raises(REFUSED, match=says):
        RELEASE["cut_changelog"](text, version, TODAY)


def test_what_was_unreleased_is_the_versions_and_nothing_is_lost() -> None:
    cut = RELEASE["cut_changelog"](CHANGELOG, "0.10.0", TODAY)
    assert cut == CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n## [0.10.0] - 2026-12-01\n")
    with pytest.raises(REFUSED, match="nothing under Unreleased"):
        RELEASE["cut_changelog"](cut, "0.11.0", TODAY)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files that name the version."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    folder = tmp_path / "checkout"
    for place in RELEASE["PLACES"]:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, folder / place)
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "A tree"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=os.environ)
    return folder


def test_a_checkout_with_changes_is_refused_and_stays_as_it_is(checkout: Path) -> None:
    (checkout / "compose.yaml").write_text("changed: true\n")
    with pytest.raises(REFUSED, match="not committed"):
        RELEASE["make_tag"](checkout, "0.3.0", sign=False, today=TODAY)
    assert (checkout / "CHANGELOG.md").read_text() == CHANGELOG
    assert RELEASE["git"](checkout, "tag") == ""


def test_a_file_that_names_no_version_any_more_is_refused_before_anything_is_changed(checkout: Path) -> None:
    (checkout / "compose.scaled.yaml").write_text("services: {}\n")
    RELEASE["git"](checkout, "commit", "-q", "--all", "-m", "Lose it")
    with pytest.raises(REFUSED, match=r"compose\.scaled\.yaml names no version"):
        RELEASE["make_tag"](checkout, "0.3.0", sign=False, today=TODAY)
    assert RELEASE["git"](checkout, "status", "--porcelain") == ""


def test_a_cut_is_one_commit_with_a_tag_and_the_version_in_every_place(checkout: Path) -> None:
    RELEASE["make_tag"](checkout, "12.34.56", sign=False, today=TODAY)
    assert RELEASE["git"](checkout, "describe", "--exact-match", "HEAD") == "v12.34.56"
    assert RELEASE["git"](checkout, "status", "--porcelain") == ""
    for place in RELEASE["PLACES"]:
        text = (checkout / place).read_text()
        assert "12.34.56" in text, place
        assert "0.1.0" not in text, place
    assert "## [12.34.56] - 2026-12-01" in (checkout / "CHANGELOG.md").read_text()


def test_the_source_is_named_without_anybodys_password(checkout: Path) -> None:
    assert RELEASE["source_of"](checkout) == "unknown"
    RELEASE["git"](checkout, "remote", "add", "origin", "https://somebody:word@git.example/keycast.git")
    assert RELEASE["source_of"](checkout) == "https://git.example/keycast.git"


def test_provenance_names_each_file_by_its_sum_and_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    wheel = tmp_path / "keycast.whl"
    wheel.write_bytes(b"a wheel")
    lock = tmp_path / "base.txt"
    lock.write_bytes(b"a lock")
    begun = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
    made = RELEASE["provenance"]([wheel], [lock], ref="v1.0.0", commit="c" * 40, source="https://x", begun=begun)
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["subject"] == [{"name": "keycast.whl", "digest": {"sha256": hashlib.sha256(b"a wheel").hexdigest()}}]
    needed = made["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert needed[0] == {"uri": "git+https://x@v1.0.0", "digest": {"gitCommit": "c" * 40}}
    assert needed[1]["digest"]["sha256"] == hashlib.sha256(b"a lock").hexdigest()
    assert made["predicate"]["runDetails"]["metadata"]["startedOn"] == "2026-12-01T00:00:00Z"
