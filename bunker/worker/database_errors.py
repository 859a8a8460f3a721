"""What a database error means for a batch: gone, worth another try, or final."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError, connection

RETRY_STATES = {"40001", "40P01", "55P03"}
"""SQLSTATE of serialization failure, deadlock and lock not available (PostgreSQL)."""


def connection_is_lost(error: object) -> bool:
    """True when nobody can tell from the error whether the transaction was committed (SQLSTATE classes 08 and 57P)."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError) or connection.vendor == "sqlite":
        return False
    state = _state(error)
    return state is None or state.startswith(("08", "57P"))


def is_worth_retrying(error: object) -> bool:
    """True when the database asks for the same again (serialization, deadlock, lock)."""
    return _state(error) in RETRY_STATES or (isinstance(error, OperationalError) and "locked" in str(error))


def _state(error: object) -> str | None:
    return getattr(getattr(error, "__cause__", None), "sqlstate", None)
