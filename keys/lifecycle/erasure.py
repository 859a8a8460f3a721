"""Overwriting what must not stay behind in the database's file. PostgreSQL: see docs/security-model.md."""

from __future__ import annotations

import os

from django.db import connection
from django.db.models import Model

from keys.models.hsm import Conversion, ConversionStep


def overwritten(row: Model, field: str) -> None:
    """Put random bytes of the same length in the place of a sealed secret, in the row's own cell."""
    blob = getattr(row, field)
    if blob is not None:
        type(row)._base_manager.filter(pk=row.pk).update(**{field: os.urandom(len(blob))})


def wipe_freed_pages() -> None:
    """Have SQLite overwrite what it deletes; call it before the transaction begins."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")


def forget_old_pages() -> None:
    """Old versions of a page live in SQLite's write-ahead log until it is cut; call it after the transaction."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def wipe_conversion(going: Conversion, reason: str = "") -> None:
    """End a conversion: both halves are gone, and jobs clean up elsewhere. In a transaction, with its row locked."""
    for field in ("half_a", "half_b"):
        overwritten(going, field)
    going.step, going.problem = ConversionStep.CANCELLED, reason[:200]
    going.half_a = going.half_b = None
    going.half_a_kek_version = going.half_b_kek_version = ""
    going.save()
