"""What somebody writes who has the database or Redis and no process; imported, or run with ``python -m``.

Everything here would leave a folder in ``marks`` if it ran: nothing else is done, and nothing else is needed to see it.
"""

from __future__ import annotations

import base64
import os
import pickle
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

# Where django-q2's cluster looked for other clusters twice a second: nobody had to do anything for it to be read.
KEYS_READ: Final = tuple(
    f":{version}:{key}"
    for version in (1, 2)
    for key in ("django_q:keycast:cluster", "django_q:keycast-jobs:cluster", "keycast:health")
)


class Mark:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def pickled(marks: Path, name: str) -> bytes:
    """A pickle that leaves a mark where it is read."""
    return pickle.dumps(Mark(marks / name))


def plant_schedules(marks: Path) -> None:
    """Rows that name functions, and rows that a reader of them might choke on."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    folder = marks / "schedule"
    rows: list[dict[str, Any]] = [
        {"name": "foreign", "func": "os.mkdir", "args": repr(str(folder))},
        {"name": None, "func": "os.mkdir", "args": repr(str(marks / "schedule-without-name"))},
        {"name": "heartbeat", "func": "os.mkdir", "args": repr(str(marks / "schedule-twice"))},
        {"name": "unreadable", "func": "os.mkdir", "args": "("},
        {"name": "deep", "func": "os.mkdir", "args": "(" * 150},
        {"name": "hooked", "func": "keycast.operations.jobs.heartbeat", "hook": "os.mkdir"},
        {"name": "chained", "func": "keycast.operations.jobs.heartbeat",
         "kwargs": repr({"q_options": {"chain": [("os.mkdir", (str(marks / "schedule-chain"),))]}})},
    ]  # fmt: skip
    for row in rows:
        insert("django_q_schedule", schedule_type="I", minutes=1, repeats=-1, next_run=past, **row)


def plant_tasks(marks: Path) -> None:
    """Finished tasks whose results and arguments are pickles of ours."""
    now = datetime.now(UTC)
    for success in (True, False):
        found = {
            column: base64.b64encode(pickled(marks, f"task-{column}-{success}")).decode()
            for column in ("args", "kwargs", "result")
        }
        row = {"id": f"{success}".ljust(32, "0"), "name": "x", "func": "x", "started": now, "stopped": now}
        insert("django_q_task", **row, success=success, attempt_count=1, **found)


def plant_queue(marks: Path) -> None:
    """Queued tasks: an unsigned pickle, one with a signature of our own making, and no package at all."""
    payload = base64.urlsafe_b64encode(pickled(marks, "queue")).decode().rstrip("=")
    for key in ("keycast", "keycast-jobs"):
        for text in (payload, f"{payload}:1aaaaa:{'A' * 43}", "", "\N{SNOWMAN}", ":", f".{payload}:1aaaaa:AAAA"):
            insert("django_q_ormq", key=key, payload=text, lock=datetime.now(UTC) - timedelta(minutes=1))


def plant_cache(marks: Path) -> None:
    """Cached values, in the table and in Redis where there is one."""
    from django.conf import settings

    url = settings.REDIS_URL
    if url:
        import redis

        with redis.Redis.from_url(url) as client:
            for number, key in enumerate(KEYS_READ):
                client.set(key, pickled(marks, f"redis-{number}"))
        return
    run("DELETE FROM django_cache")
    for number, key in enumerate(KEYS_READ):
        value = base64.b64encode(pickled(marks, f"cache-{number}")).decode()
        insert("django_cache", cache_key=key, value=value, expires=datetime.now(UTC) + timedelta(days=1))


def insert(table: str, **columns: Any) -> None:
    """One row, by SQL."""
    names = ", ".join(f'"{name}"' for name in columns)
    run(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(columns))})", *columns.values())


def run(sql: str, *values: Any) -> None:
    """One statement."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, [_adapted(connection, value) for value in values])


def _adapted(connection: Any, value: Any) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def plant_all(marks: Path) -> None:
    """All of it."""
    for plant in (plant_schedules, plant_tasks, plant_queue, plant_cache):
        plant(marks)


if __name__ == "__main__":
    import django

    django.setup()
    plant_all(Path(sys.argv[1]))
