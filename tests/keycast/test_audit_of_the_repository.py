"""``.ci/audit`` finds what it is to find: a tracked secret, an acceptance of no use, a licence that is not free."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_OSV = """
import runpy, sys
script = runpy.run_path(sys.argv[1])["main"]
script.__globals__["OSV"] = "http://127.0.0.1:9/"
sys.exit(script())
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of its own with the script and the locks, and nothing else."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/audit", tmp_path / ".ci/audit")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def audit(repository: Path) -> subprocess.CompletedProcess[str]:
    subprocess.run(["git", "add", "-A"], cwd=repository, check=True)
    command = [sys.executable, "-c", WITHOUT_OSV, str(repository / ".ci/audit")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_tracked_now_passes_and_says_what_was_not_looked_at(repository: Path) -> None:
    done = audit(repository)
    assert done.returncode == 0, done.stderr
    assert "NOT LOOKED AT" in done.stdout
    assert "licences:" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "nsec1" + "q" * 58,
        "-----BEGIN EC " + "PRIVATE KEY-----\n" + "A" * 64,
        '"private_key_id": "' + "ab" * 20 + '"',
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "ghp_" + "a1" * 18,
    ],
)
def test_a_secret_in_a_tracked_file_is_found(repository: Path, text: str) -> None:
    (repository / "notes.txt").write_text(f"first line\n{text}\n")
    done = audit(repository)
    assert done.returncode == 1
    assert "notes.txt:2" in done.stderr
    assert text not in done.stderr, "a finding does not repeat the secret"


def test_an_acceptance_for_a_version_that_is_locked_no_more_is_a_failure(repository: Path) -> None:
    entry = {"package": "django", "version": "1.0", "advisory": "PYSEC-2008-1", "reason": "old"}
    (repository / "requirements/advisories.json").write_text(json.dumps({"looked_at": None, "accepted": [entry]}))
    done = audit(repository)
    assert done.returncode == 1
    assert "PYSEC-2008-1" in done.stderr


def test_a_package_without_a_licence_that_is_known_to_be_free_is_found(repository: Path) -> None:
    script = repository / ".ci/audit"
    script.write_text(script.read_text().replace("MIT|BSD", "BSD"))
    done = audit(repository)
    assert done.returncode == 1
    assert "its licence is" in done.stderr
