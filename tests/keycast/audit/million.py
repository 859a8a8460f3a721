"""A million audit rows in seconds, and what pages of them cost: ``python -m tests.keycast.audit.million`` prints a
table.

The rows are like a busy deployment's: 20 tenants, 2,000 keys with an app each, an intent and a result for each use of
a key, one in a hundred refused, and some sign-ins of people. Their hashes are no chain's; no page asks for that.
"""

from __future__ import annotations

import datetime
import os
import statistics
import sys
import time
from typing import Any, Final

ROWS: Final = 1_000_000
CHAINS: Final = 20
KEYS: Final = 2000
START: Final = 1_790_000_000
PER_SECOND: Final = 10
COLUMNS: Final = (
    "id, chain, sequence, at, tag, outcome, actor_type, actor_id, actor_label, "
    "key_id, connection_id, request_id, data, previous_hash, hash"
)
_NUMBERS: Final = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
    "postgresql": "WITH numbers AS (SELECT generate_series(1, {rows}) AS n)",
}
_HEX: Final = {"sqlite": "printf('%032x', {})", "postgresql": "lpad(to_hex(({})::bigint), 32, '0')"}
_LONG: Final = {"sqlite": "printf('%064x', {})", "postgresql": "lpad(to_hex(({})::bigint), 64, '0')"}
_BLOB: Final = {"sqlite": "zeroblob(32)", "postgresql": "decode(repeat('00', 32), 'hex')"}


def fill(connection: Any, rows: int = ROWS) -> None:
    """Put the rows and the heads of their chains into an empty log."""
    vendor = connection.vendor
    short, long, blob = _HEX[vendor].format, _LONG[vendor].format, _BLOB[vendor]
    chain, key = f"n % {CHAINS}", f"(n / 2) % {KEYS}"
    # Every fiftieth row is something that a person did.
    statement = f"""
        INSERT INTO audit_auditrow ({COLUMNS})
        {_NUMBERS[vendor].format(rows=rows)}
        SELECT n, {short(chain)}, n / {CHAINS} + 1, ({START} + n / {PER_SECOND}) * CAST(1000000 AS bigint),
            CASE WHEN n % 50 = 0 THEN 'accounts:session:signed-in' ELSE 'bunker:sign_event:request' END,
            CASE WHEN n % 50 = 0 THEN 'ok' WHEN n % 2 = 0 THEN 'intent' WHEN n % 97 = 0 THEN 'denied' ELSE 'ok' END,
            CASE WHEN n % 50 = 0 THEN 'user' ELSE 'client' END,
            CASE WHEN n % 50 = 0 THEN {short("n % 500")} ELSE {long(key)} END,
            'an app or a person',
            CASE WHEN n % 50 = 0 THEN '' ELSE {short(key)} END,
            CASE WHEN n % 50 = 0 THEN '' ELSE {short(key)} END,
            CASE WHEN n % 50 = 0 THEN '' ELSE {long("n / 2")} END,
            '{{"kind":1,"size":140,"id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}',
            {blob}, {blob}
        FROM numbers
    """
    heads = f"""
        INSERT INTO audit_auditchain (name, sequence, head)
        SELECT chain, MAX(sequence), {blob} FROM audit_auditrow GROUP BY chain
    """
    from keycast.audit import triggers

    with connection.cursor() as cursor:
        triggers.remove(cursor, vendor)
        cursor.execute(statement)
        cursor.execute(heads)
        if vendor == "postgresql":
            cursor.execute("SELECT setval('audit_auditrow_id_seq', (SELECT MAX(id) FROM audit_auditrow))")
            cursor.execute("ANALYZE audit_auditrow")
        triggers.install(cursor, vendor)


def questions() -> dict[str, dict[str, Any]]:
    """What is asked of the log, by name: arguments of keycast.audit.browsing.browse."""
    from keycast.audit.selectors import AuditFilters

    chain, other, key, person = f"{1:032x}", f"{2:032x}", f"{7:032x}", f"{150:032x}"
    middle = datetime.datetime.fromtimestamp(START + ROWS // PER_SECOND // 2, datetime.UTC)
    hour = datetime.timedelta(hours=1)
    rare = AuditFilters(
        tags=["keys:key:destroyed"], outcomes=["failed"], actor_type="user", since=middle, until=middle + hour
    )
    asked: dict[str, tuple[str, AuditFilters]] = {
        "everything": ("", AuditFilters()),
        "one tenant": (chain, AuditFilters()),
        "refused": ("", AuditFilters(outcomes=["denied"])),
        "refused, one tenant": (chain, AuditFilters(outcomes=["denied"])),
        "a tag": ("", AuditFilters(tags=["accounts:session:signed-in"])),
        "a tag that never occurs": ("", AuditFilters(tags=["keys:key:destroyed"])),
        "a tag that never occurs, one tenant": (chain, AuditFilters(tags=["keys:key:destroyed"])),
        "kind of actor": ("", AuditFilters(actor_type="staff")),
        "a person": ("", AuditFilters(actor_id=person)),
        "a person, refused": ("", AuditFilters(actor_id=person, outcomes=["denied"])),
        "an app's public key": ("", AuditFilters(actor_id=f"{7:064x}")),
        "an event id that is not there": ("", AuditFilters(request_id="f" * 64)),
        "a key": ("", AuditFilters(key_id=key)),
        "a key, refused": ("", AuditFilters(key_id=key, outcomes=["denied"])),
        "a key that another tenant asks for": (other, AuditFilters(key_id=key)),
        "a key's intents": ("", AuditFilters(key_id=key, outcomes=["intent"])),
        "a key and its app": ("", AuditFilters(key_id=key, connection_id=key)),
        "an hour in the middle": ("", AuditFilters(since=middle, until=middle + hour)),
        "an hour of one tenant": (chain, AuditFilters(since=middle, until=middle + hour)),
        "until a moment, refused": ("", AuditFilters(until=middle, outcomes=["denied"])),
        "an hour of a key": ("", AuditFilters(key_id=key, since=middle, until=middle + hour)),
        "all at once": (chain, rare),
    }
    return {name: {"chain": chain, "filters": filters} for name, (chain, filters) in asked.items()}


def time_of(question: dict[str, Any], **more: str) -> float:
    """Milliseconds of one page."""
    from keycast.audit.browsing import browse

    started = time.perf_counter()
    browse(**question, **more)
    return 1000 * (time.perf_counter() - started)


def measure() -> None:
    """Print the table: milliseconds of the first page, and of one in the middle of the log."""
    from django.db import connection

    started = time.perf_counter()
    fill(connection)
    print(f"{ROWS:,} rows made in {time.perf_counter() - started:.0f} s, {connection.vendor}")
    for name, question in questions().items():
        middle = ROWS // 2 if not question["chain"] or question["filters"].key_id else ROWS // CHAINS // 2
        first = statistics.median(time_of(question) for _ in range(5))
        back = statistics.median(time_of(question, before=str(middle)) for _ in range(5))
        print(f"{name:<40} {first:7.1f} ms {back:7.1f} ms")
    for name, milliseconds, busy in whole_pages():
        print(f"{name:<40} {milliseconds:7.1f} ms, of which {busy:.1f} ms of this process's CPU")


def whole_pages() -> list[tuple[str, float, float]]:
    """Staff's page from request to answer, HTML and session included: milliseconds, and those of CPU."""
    from django.conf import settings

    from tests.keycast.console.conftest import PLATFORM, signed_in, staff

    settings.PLATFORM_HOSTS = [PLATFORM]
    client = signed_in(staff("operator@platform.test"))
    found = []
    for name, query in {
        "staff's page: everything": {},
        "staff's page: refused, one tenant": {"outcome": "denied", "chain": f"{1:032x}"},
        "staff's page: a tag that never occurs": {"tag": "keys:key:destroyed", "chain": f"{1:032x}"},
        "staff's page: an hour": {"since": "2026-10-16T12:00", "until": "2026-10-16T13:00"},
    }.items():
        times = []
        for _ in range(5):
            started, busy = time.perf_counter(), time.process_time()
            assert client.get("/admin/audit/auditrow/", query).status_code == 200
            times.append((1000 * (time.perf_counter() - started), 1000 * (time.process_time() - busy)))
        found.append((name, *map(statistics.median, zip(*times, strict=True))))
    return found


def main() -> None:
    """In a database of its own, made like the test suite's and dropped afterwards."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        measure()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
