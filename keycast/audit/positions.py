"""Where in the log a moment lies: rows are in order of time, so it is found by bisection, in one query."""

from __future__ import annotations

from typing import Final

from django.db import connection

_BY_SEQUENCE: Final = (
    "(SELECT at FROM audit_auditrow WHERE chain = %(chain)s AND sequence >= (low + high) / 2 ORDER BY sequence LIMIT 1)"
)
_BY_ID: Final = "(SELECT at FROM audit_auditrow WHERE id >= (low + high) / 2 ORDER BY id LIMIT 1)"
_BISECT: Final = """
    WITH RECURSIVE bounds(low, high, steps) AS (
        SELECT CAST(%(low)s AS bigint), CAST(%(high)s AS bigint), 0
        UNION ALL
        SELECT CASE WHEN {at} < %(moment)s THEN (low + high) / 2 + 1 ELSE low END,
               CASE WHEN {at} < %(moment)s THEN high ELSE (low + high) / 2 END,
               steps + 1
        FROM bounds WHERE low < high AND steps < 70
    )
    SELECT low FROM bounds WHERE low >= high
"""
_ENDS_OF_CHAIN: Final = (
    "SELECT (SELECT MIN(sequence) FROM audit_auditrow WHERE chain = %s),"
    " (SELECT MAX(sequence) FROM audit_auditrow WHERE chain = %s)"
)
_ENDS_OF_ALL: Final = "SELECT (SELECT MIN(id) FROM audit_auditrow), (SELECT MAX(id) FROM audit_auditrow)"


def ends(chain: str = "") -> tuple[int, int]:
    """The positions of the first and the last row: sequences of a chain, or ids of all chains; (1, 0) without rows."""
    with connection.cursor() as cursor:
        if chain:
            cursor.execute(_ENDS_OF_CHAIN, [chain, chain])
        else:
            cursor.execute(_ENDS_OF_ALL)
        first, last = cursor.fetchone()
    return (first, last) if first is not None else (1, 0)


def first_since(moment: int, span: tuple[int, int], chain: str = "") -> int:
    """The position of the first row at ``moment`` (Unix time in µs) or later, or the one behind the last.

    ``span`` as ``ends`` gave it. Where a clock was set back, rows are out of order by that much, and so is the answer.
    """
    statement = _BISECT.format(at=_BY_SEQUENCE if chain else _BY_ID)
    values: dict[str, int | str] = {"low": span[0], "high": span[1] + 1, "moment": moment, "chain": chain}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.fetchone()[0])
