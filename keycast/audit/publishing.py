"""Carries signed statements out of the database: to a file that only grows, and to the log that is shipped elsewhere.

Whoever can rewrite the database can delete checkpoints in it; not those that stand elsewhere. Each is written at least
once: after a crash it may stand there twice, which changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from keycast.audit.merkle import unpack
from keycast.audit.models import AuditCheckpoint, AuditCut
from keycast.audit.statements import as_line

log = structlog.get_logger(__name__)

AT_ONCE = 500


def publish() -> int:
    """Write what does not stand outside yet, oldest first; how many. Raises OSError when the file takes nothing."""
    total = 0
    # Cuts before checkpoints: rows wait for theirs to be outside, and there are few of them.
    models: tuple[type[AuditCut] | type[AuditCheckpoint], ...] = (AuditCut, AuditCheckpoint)
    for model in models:
        waiting: list[Any] = list(model._default_manager.filter(is_published=False).order_by("id")[:AT_ONCE])
        if not waiting:
            continue
        lines = [line_of(row) for row in waiting]
        if settings.AUDIT_CHECKPOINT_FILE:
            append_lines(Path(settings.AUDIT_CHECKPOINT_FILE), lines)
        for line in lines:
            log_statement(line)
        # After the disk has them: a crash in between writes them once more, which changes nothing.
        model._default_manager.filter(id__in=[row.pk for row in waiting]).update(is_published=True)
        total += len(waiting)
    return total


def line_of(row: AuditCheckpoint | AuditCut) -> dict[str, Any]:
    """A statement as it stands outside: the signed fields, the signature, and for a checkpoint its consistency."""
    signed = as_line(row.statement, bytes(row.signature))
    if isinstance(row, AuditCut):
        return {"cut": signed}
    return {"checkpoint": signed, "consistency": [each.hex() for each in unpack(bytes(row.consistency))]}


def append_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Append and wait until the disk has it. A line that a crash cut short is ended first. Raises OSError."""
    text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # Without this the first statement would be glued to the remains of one that a crash cut short, and both lost.
        data = (b"" if _ends_well(handle) else b"\n") + text.encode()
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _ends_well(handle: int) -> bool:
    """Whether the file is empty, or ends with a line break, or can only be written (a device, a pipe)."""
    try:
        size = os.fstat(handle).st_size
        return size == 0 or os.pread(handle, 1, size - 1) == b"\n"
    except OSError:
        return True


def log_statement(line: dict[str, Any]) -> None:
    """One line in the log. Hashes go in halves: the log masks 64 hex digits, which could be a secret key."""
    for kind, signed in line.items():
        if kind in {"checkpoint", "cut"}:
            log.info(f"audit_{kind}", **{name: _halved(value) for name, value in signed.items()})


def _halved(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 40 and " " not in value:
        return " ".join(value[start : start + 32] for start in range(0, len(value), 32))
    return value


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of such a file that are JSON objects; a line that a crash cut short is passed over. Raises OSError."""
    with path.open("rb") as file:
        for raw in file:
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict):
                yield line


def unpublished_since() -> int | None:
    """When (Unix time in µs) the oldest statement was made that does not stand outside yet; None when all do."""
    oldest = chain.from_iterable(
        model._default_manager.filter(is_published=False).order_by("id").values_list("at", flat=True)[:1]
        for model in (AuditCut, AuditCheckpoint)
    )
    return min(oldest, default=None)
