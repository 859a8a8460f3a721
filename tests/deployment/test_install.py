"""requirements/install.py and the Makefile: what a fresh machine gets, and one where something went wrong is told."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from tests.paths import ROOT

PROGRAM = ROOT / "requirements/install.py"
spec = spec_from_file_location("install", PROGRAM)
install = module_from_spec(spec)
spec.loader.exec_module(install)

LOCK = "segno==1.6.6 --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """Made on top of what an interrupted `python -m venv` left, in a path with a space."""
    folder = tmp_path_factory.mktemp("a folder") / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to("/nonexistent/python3.11")
    (folder / ".installed-base-1").touch()
    install.make_usable(folder)
    return folder


def make(*arguments, **environment):
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_a_half_made_environment_is_made_anew(venv, capsys):
    assert install.works(venv)
    assert not (venv / ".being-made").exists()
    assert not list(venv.glob(".installed-*"))
    (venv / "bin/mark").touch()
    install.make_usable(venv)
    assert (venv / "bin/mark").exists(), "one that works is kept"


def test_a_folder_that_is_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SystemExit):
        install.make_usable(tmp_path)
    assert "holds thesis.tex: move it away, or choose VENV=folder" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


def test_a_package_that_was_half_installed_does_not_count_as_installed(tmp_path):
    packages = tmp_path / "lib/python3.11/site-packages"
    (packages / "whole-1.dist-info").mkdir(parents=True)
    (packages / "whole-1.dist-info/INSTALLER").write_text("pip\n")
    (packages / "half-1.dist-info").mkdir()
    (packages / "half-1.dist-info/METADATA").touch()
    install.forget_half_installed(tmp_path)
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def run(folder, lock, **environment):
    """install.py itself, with a lock of ours and an index where nobody listens."""
    copy = folder / "install.py"
    shutil.copy(PROGRAM, copy)
    (folder / "base.txt").write_text(lock)
    chosen = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_FIND_LINKS": "", **environment}
    return copy, os.environ | chosen


def test_without_a_network_the_last_line_says_so(venv, tmp_path):
    copy, environment = run(tmp_path, LOCK)
    done = subprocess.run(
        [sys.executable, copy, venv, "base", tmp_path / "done"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The package index cannot be reached: see to the network")
    assert "Traceback" not in done.stderr + done.stdout
    assert "Installing 1 packages" in done.stdout
    assert not (tmp_path / "done").exists()


def test_what_is_complete_already_is_not_asked_for(venv, tmp_path):
    copy, environment = run(tmp_path, "")
    (tmp_path / "done").touch()
    done = subprocess.run(
        [sys.executable, copy, venv, "base", tmp_path / "done"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("WARNING: Retrying ... Temporary failure in name resolution\nERROR: No matching distribution found", "index"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that was locked"),
        ("ERROR: No matching distribution found for coincurve==21.0.0", "choose another, for"),
        ("ERROR: something else", "install.log has all that it said"),
    ],
)
def test_a_failure_ends_with_one_line_that_says_what_to_do(said, hint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        install.explain(said.splitlines(keepends=True), tmp_path)
    assert hint in capsys.readouterr().err.splitlines()[-1]


def test_progress_is_a_dot_for_some_packages(capsys):
    program = "for n in range(7): print('Collecting', n)\nprint('Installing collected packages: a')"
    log = io.StringIO()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as pip:
        install.follow(pip, log, lambda: 6)
    assert capsys.readouterr().out == "  fetching  ..\n  unpacking ..\n"
    assert log.getvalue().count("Collecting") == 7


@pytest.mark.parametrize("python", ["", "/bin/false", "/nonexistent/python3"])
def test_without_a_python_make_says_which_is_needed(python, tmp_path):
    done = make("setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "Keycast needs Python 3.11 or later" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_an_environment_whose_python_is_gone_does_not_count(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/nonexistent/python3.11")
    (tmp_path / ".installed-base-1").touch()
    make("--dry-run", "setup", f"VENV={tmp_path}")
    assert not (tmp_path / ".installed-base-1").exists()


def test_the_folder_of_the_demo_may_have_a_space():
    assert '--folder "/tmp/a folder"' in make("--dry-run", "demo", "FOLDER=/tmp/a folder").stdout
