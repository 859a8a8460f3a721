"""The seal of a request for an export: none can be made, hurried or handed to another session past us.

An earlier row of the same request can be put back with its seal; it then waits as long, and for the same session.
"""

from __future__ import annotations

from typing import Final

from accounts.row_seals import RowSeal, keep_sealed, renew
from keys.models import KeyExport

EXPORT: Final = RowSeal(
    "key-export",
    ("id", "key_id", "user_id", "state", "session_hash", "credentials", "asked_at", "due_at", "expires_at"),
)


def is_ours(row: KeyExport) -> bool:
    """Whether a process of ours wrote the row as it is."""
    return EXPORT.fits(row)


def renew_exports() -> tuple[int, list[str]]:
    """Seal anew, under the present field key, what an earlier one sealed: how many, and which rows do not fit."""
    return renew(KeyExport, EXPORT)


def connect() -> None:
    """Start sealing; called once, when the app is ready."""
    keep_sealed(KeyExport, EXPORT)
