"""The secret with which /readyz and /metrics answer: as configured, or made once for this machine's own probes."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from django.conf import settings

FILE = "probe-token"
"""In DATA_DIR; deploy/image/healthcheck.py reads it too."""

logger = logging.getLogger(__name__)


def probe_token() -> str:
    """KEYCAST_PROBE_TOKEN, or what DATA_DIR/probe-token holds; empty where there is none: then nobody is let in."""
    return settings.PROBE_TOKEN or _of_file(settings.DATA_DIR / FILE)


def make_probe_token() -> None:
    """Make the file where it is wanted and not there: whole or not at all, for its owner alone."""
    path = settings.DATA_DIR / FILE
    if settings.PROBE_TOKEN or path.exists():
        return
    try:
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):  # another process was faster
            os.link(beside, path)
        beside.unlink()
    except OSError as error:
        logger.warning("no_probe_token", extra={"error": type(error).__name__, "file": str(path)})


def _of_file(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
