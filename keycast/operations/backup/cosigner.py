"""The co-signer's side of a rehearsal: held by a process that has nothing of signer A's, or carried here as a file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings

from keycast.base.child_processes import manage_command
from keycast.operations.backup.dumps import CannotRestore
from keys.cosigner.process import environment


def is_here() -> bool:
    """Whether the co-signer's database belongs to this server, as in the embedded shape."""
    return settings.COSIGNER_IS_CHILD and Path(settings.COSIGNER_DB).is_file()


def rehearsed(outcome_file: str, dump: str) -> dict[str, Any] | None:
    """What ``manage.py cosigner rehearse`` found, there or here; None where there is no co-signer's side to look at.

    Raises CannotRestore.
    """
    if outcome_file:
        try:
            return _read(Path(outcome_file).read_text(encoding="utf-8"))
        except OSError as error:
            raise CannotRestore(f"{outcome_file} cannot be read: {error}") from None
    if not dump and not is_here():
        return None
    arguments = ["rehearse", "--json", *(["--dump", str(Path(dump).resolve())] if dump else [])]
    # In a process of its own: nobody opens both halves of a key, not even for a rehearsal.
    done = subprocess.run(  # noqa: S603 -- ourselves
        manage_command("cosigner", *arguments),
        env=environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.BASE_DIR,
    )
    if done.returncode not in {0, 1}:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CannotRestore(lines[-1][:300])
    return _read(done.stdout)


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text.strip().splitlines()[-1])
        found["keys"], found["last_at"], found["problems"]
    except (ValueError, IndexError, KeyError, TypeError):
        raise CannotRestore("That is no outcome of manage.py cosigner rehearse --json.") from None
    return dict(found)
