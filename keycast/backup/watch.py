"""What health has to say of the file of endings."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from keycast.audit import following
from keycast.health import Finding, Severity, register


def endings() -> Finding | None:
    """The database is not older than the file of endings, and the file can be written."""
    if not settings.ENDINGS_FILE:
        return None
    if lacking := following.missing():
        return Finding(
            "restored database",
            False,
            f"Older than the file of endings: it lacks {len(lacking)} rows that were written. Nothing is signed.",
            "A backup was restored: run manage.py after_restore (docs/operations.md, Restore).",
            tells=True,
        )
    path = Path(settings.ENDINGS_FILE)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        fix = "Look at its disk and its owner; a job carries what it missed."
        return Finding("endings", False, f"{path} cannot be written.", fix, Severity.WARNING, tells=True)
    return Finding("endings", True, "Kept outside the database; the database is not older.")


register(endings)
