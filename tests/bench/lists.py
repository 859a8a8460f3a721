"""Milliseconds of the admin's list of keys with a hundred thousand of them: ``python -m tests.bench.lists``.

In a database of its own, made like the test suite's and dropped afterwards; PostgreSQL with ``DATABASE_URL``.
"""

from __future__ import annotations

import os
import time

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
ROUNDS = 3


def measure() -> None:
    """Print for each way of asking the best of three answers, from request to HTML."""
    from django.conf import settings
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django_scopes import scopes_disabled

    from tests.keycast.console import crowd
    from tests.keycast.console.conftest import PLATFORM, make_world, signed_in, staff
    from tests.keycast.console.test_many_keys import BROAD, NARROW
    from tests.keycast.console.test_pages import KEYS

    settings.PLATFORM_HOSTS = [PLATFORM]
    with scopes_disabled():
        make_world()
        client = signed_in(staff("operator@platform.test"))
        began = time.perf_counter()
        crowd.make()
        print(f"{crowd.KEYS:,} keys made in {time.perf_counter() - began:.1f} s, {connection.vendor}")
        for query in (*BROAD, *NARROW):
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                with CaptureQueriesContext(connection) as asked:
                    answer = client.get(KEYS, query)
                times.append(1000 * (time.perf_counter() - began))
                if answer.status_code != 200:
                    raise SystemExit(f"{query}: status {answer.status_code}")
            print(f"{min(times):7.0f} ms {len(asked):3} queries  {query}")


def main() -> None:
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
    main()
