"""Commands that need no server's settings: those that make keys before there are any, and the client of any bunker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
"""An environment that says nothing of Keycast, so that it counts as production."""


def keycast(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keycast", *arguments],
        cwd=folder,
        env={**BARE, "KEYCAST_DATA_DIR": str(folder / "var"), "KEYCAST_STATIC_ROOT": str(folder / "static")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_that_serve_still_refuse_without_secrets(tmp_path: Path) -> None:
    done = keycast(tmp_path, "migrate")
    assert done.returncode != 0
    assert "SECRET_KEY (or SECRET_KEY_FILE) must be set" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["generate_kek", "generate_checkpoint_key"])
def test_keys_are_made_before_there_are_settings(tmp_path: Path, command: str) -> None:
    file = tmp_path / "key"
    done = keycast(tmp_path, command, "--path", str(file))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_the_client_leaves_no_folders_behind(tmp_path: Path) -> None:
    done = keycast(tmp_path, "nip46", "ping", "--bunker", "bunker://nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


STARTED = """
import gc
from keycast import command_line
before = gc.get_threshold()
command_line.collect_after_start()
kept = [[] for _ in range(command_line.OBJECTS_OF_A_START - 5_000)]
during = gc.get_count()[0], gc.get_stats()[0]["collections"], gc.get_freeze_count()
{between}
more = [[] for _ in range(10_000)]
print(during[0] > 100_000, during[2], gc.get_freeze_count() > len(kept), gc.get_threshold() == before, gc.callbacks)
"""


@pytest.mark.parametrize(("between", "is_pythons_own"), [("", True), ("gc.set_threshold(20_000, 50, 100)", False)])
def test_garbage_is_collected_once_a_start_is_over_as_whoever_serves_has_chosen(
    between: str, is_pythons_own: bool
) -> None:
    command = [sys.executable, "-c", STARTED.format(between=between)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "0", "True", str(is_pythons_own), "[]"], done.stderr
