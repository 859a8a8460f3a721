#!/usr/bin/env python3
"""What ``make demo`` and ``make test`` install: a virtual environment, and what a lock pins, with progress.

    install.py VENV LOCK DONE...      LOCK: base or dev; DONE: files that are made when everything is there

It can be interrupted at any moment and started again: a half-made environment is made anew, and a package that was
half installed is installed again. Two that are started at once wait for each other. Exit code 1: it failed, and the
last line says what to do; 130: interrupted. What pip said is kept in VENV/install.log.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

HERE = Path(__file__).resolve().parent
MADE_BY_VENV = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", "install.log", ".gitignore", ".being-made"}
SOURCE_ONLY = ("forbiddenfruit",)
"""In dev.txt, and without a wheel: pure Python, which needs no compiler."""
PACKAGES_OF_A_DOT = 3
WHAT_TO_DO = (
    (
        r"NewConnectionError|NameResolutionError|name resolution|ProxyError|ConnectTimeout|ReadTimeout|SSLError"
        r"|Network is unreachable|Connection refused",
        "The package index cannot be reached: see to the network (or HTTPS_PROXY, PIP_INDEX_URL) and run it again.",
    ),
    (r"No space left on device", "The disk is full: make room (about 300 MB) and run it again."),
    (
        r"DO NOT MATCH THE HASHES",
        "A package is not the one that was locked, so it was not installed: run it again, and if that does not help, "
        "do not use the index that served it.",
    ),
    (
        r"No matching distribution found",
        f"There is no ready-made package for this Python on {platform.machine()}: remove the virtual environment and "
        "choose another, for example make demo PYTHON=python3.12",
    ),
)


def main() -> int:
    venv, lock, done = Path(sys.argv[1]), HERE / f"{sys.argv[2]}.txt", [Path(name) for name in sys.argv[3:]]
    with alone(venv):
        if done and all(path.exists() for path in done):  # by whom we waited for
            return 0
        try:
            make_usable(venv)
            forget_half_installed(venv)
            install(venv, lock)
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on from here.")
            return 130
        except OSError as error:
            fail(f"Cannot write in {venv}: {error.strerror or error}.")
        for path in done:
            path.touch()
    return 0


@contextmanager
def alone(venv: Path) -> Iterator[None]:
    """Wait until no other installation runs in the same folder."""
    descriptor = os.open(venv.absolute().parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another installation runs here: waiting for it ...", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_usable(venv: Path) -> None:
    """Make the environment, anew where it is only half there or its Python is gone."""
    being_made = venv / ".being-made"
    if venv.is_dir() and not being_made.exists() and works(venv):
        return
    found = {path.name for path in venv.iterdir()} if venv.is_dir() else set()
    if strange := sorted(name for name in found if name not in MADE_BY_VENV and not name.startswith(".installed-")):
        fail(f"{venv} is no virtual environment, and holds {strange[0]}: move it away, or choose VENV=folder.")
    if found:
        print(f"{venv} is half-made, or its Python is gone: making it anew.", flush=True)
        empty(venv)
    print(f"Making {venv}, with Python {platform.python_version()} ...", flush=True)
    venv.mkdir(parents=True, exist_ok=True)
    being_made.touch()
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode or not works(venv):
        fail(f"{made.stdout.strip()}\nCannot make a virtual environment (on Debian: apt-get install python3-venv).")
    being_made.unlink()


def works(venv: Path) -> bool:
    """Whether it has a Python that is new enough, and pip."""
    program = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        found = subprocess.run([str(venv / "bin/python"), "-c", program], capture_output=True, check=False)
    except OSError:
        return False
    return found.returncode == 0


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def installed(venv: Path) -> list[Path]:
    return list(venv.glob("lib/python3*/site-packages/*.dist-info"))


def forget_half_installed(venv: Path) -> None:
    """pip writes INSTALLER when all of a package is there, but takes a package without it for installed."""
    for folder in installed(venv):
        if not (folder / "INSTALLER").is_file():
            shutil.rmtree(folder)


def install(venv: Path, lock: Path) -> None:
    """Have pip install what the lock pins: all of it, and nothing that would have to be compiled."""
    command = [str(venv / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    # A lock is complete, so pip looks for nothing that is not in it: no newer release, nothing that an extra asks.
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += [word for name in SOURCE_ONLY for word in ("--no-binary", name)]
    wanted = len(re.findall(r"(?m)^[A-Za-z0-9]\S*==", lock.read_text(encoding="utf-8")))
    before = len(installed(venv))
    print(f"Installing {wanted} packages into {venv}: less than a minute, as a rule. Once only.", flush=True)
    with (
        (venv / "install.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "-r", str(lock)],
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PIP_ROOT_USER_ACTION": "ignore", "PIP_NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip,
    ):
        try:
            said = follow(pip, log, lambda: len(installed(venv)) - before)
        except BaseException:
            pip.terminate()
            raise
    if pip.returncode:
        explain(said, venv)


def explain(said: list[str], venv: Path) -> NoReturn:
    text = "".join(said)
    errors = [line.strip() for line in said if line.startswith("ERROR:") and "require a different python" not in line]
    hint = next((what for pattern, what in WHAT_TO_DO if re.search(pattern, text)), "")
    fail("\n".join([*errors[-3:], hint or f"pip failed: {venv / 'install.log'} has all that it said."]))


def follow(pip: subprocess.Popen[str], log: TextIO, unpacked: Callable[[], int]) -> list[str]:
    """Show how far it is, one dot for some packages, until pip ends; returns what it said, also written to ``log``."""
    said: list[str] = []
    fetched, ended = 0, threading.Event()
    dots = Dots("fetching")
    watcher: threading.Thread | None = None
    for line in pip.stdout or ():
        said.append(line)
        log.write(line)
        if line.startswith(("Collecting ", "Requirement already satisfied")):
            fetched += 1
            dots.reach(fetched)
        if line.startswith("Installing collected packages"):
            watcher = threading.Thread(target=watch, args=(ended, unpacked), daemon=True)
            print()
            watcher.start()
    pip.wait()
    ended.set()
    if watcher:
        watcher.join()
    print(flush=True)
    return said


def watch(ended: threading.Event, unpacked: Callable[[], int]) -> None:
    dots = Dots("unpacking")
    while not ended.wait(0.3):
        dots.reach(unpacked())
    dots.reach(unpacked())


class Dots:
    """One for every few packages, behind the name of what is done."""

    def __init__(self, phase: str) -> None:
        self._shown = 0
        print(f"  {phase:10}", end="", flush=True)

    def reach(self, packages: int) -> None:
        more = max(0, packages // PACKAGES_OF_A_DOT - self._shown)
        self._shown += more
        print("." * more, end="", flush=True)


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
