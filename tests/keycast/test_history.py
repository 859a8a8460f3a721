"""``git log --follow`` leads behind the commit that moved every module to its floor and did nothing else."""

from __future__ import annotations

import subprocess

import pytest

from tests.paths import ROOT

MOVE = "Move every module to its floor"
MOVED = (
    "accounts/models/panic.py",
    "accounts/signin/stepup.py",
    "accounts/staff/approvals/services.py",
    "accounts/staff/roles.py",
    "bunker/worker/database_errors.py",
    "keycast/base/errors.py",
    "keycast/console/tenants.py",
    "keycast/operations/doctor.py",
    "keys/lifecycle/states.py",
    "keys/split/succession.py",
)


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.fixture(scope="module", autouse=True)
def whole_history() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("SKIPPED: this is no clone, so it has no history to follow.")
    if git("rev-parse", "--is-shallow-repository") == ["true"]:
        pytest.skip("SKIPPED: this clone is shallow. After git fetch --unshallow the history is looked at.")


@pytest.mark.parametrize("path", MOVED)
def test_a_moved_file_has_its_history_from_before_the_move(path: str) -> None:
    subjects = git("log", "--follow", "--format=%s", "--", path)
    assert MOVE in subjects
    moved = git("log", "--follow", "--format=", "--name-status", f"--grep=^{MOVE}$", "--", path)
    assert [line.split("\t")[0][0] for line in moved] == ["R"], "the move is a rename, not a new file"
