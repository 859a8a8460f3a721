"""Many writers, one history: chains never fork, whoever writes (threats A3)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.services import append, verify
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.paths import ROOT

CHAINS = ["a" * 32, "b" * 32, "c" * 32]
WRITERS, ROUNDS = 6, 12

pytestmark = pytest.mark.django_db(transaction=True)


def entries(chains: list[str], writer: str) -> list[AuditEntry]:
    return [AuditEntry(chain, AuditTag.KEY_CREATED, AuditOutcome.OK, Actor.system(writer)) for chain in chains]


def write_rounds(writer: int, rounds: int = ROUNDS) -> None:
    """Each writer names the chains in another order, as group commits of several tenants do."""
    chains = CHAINS[writer % 3 :] + CHAINS[: writer % 3]
    for _ in range(rounds):
        with transaction.atomic(), connection.cursor() as cursor:
            append(cursor, entries(chains, f"writer-{writer}"))


def in_thread(writer: int, start: threading.Barrier) -> None:
    try:
        start.wait(10)
        write_rounds(writer)
    finally:
        connection.close()


def assert_whole(total: int) -> None:
    report = verify()
    assert report.is_intact, report.faults
    assert report.rows == total * len(CHAINS)
    assert set(AuditChain.objects.values_list("sequence", flat=True)) == {total}


def test_threads_that_start_on_chains_without_heads_do_not_fork_them() -> None:
    start = threading.Barrier(WRITERS)
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(in_thread, writer, start) for writer in range(WRITERS)]:
            done.result()
    assert_whole(WRITERS * ROUNDS)
    written = Counter(AuditRow.objects.values_list("actor_id", flat=True))
    assert set(written.values()) == {ROUNDS * len(CHAINS)}


def test_concurrent_processes_do_not_fork_an_audit_chain() -> None:
    code = "import django; django.setup(); from tests.keycast.audit.test_concurrency import child; child()"
    name = str(connection.settings_dict["NAME"])
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE_NAME": name}
    children = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**environment, "WRITER": str(writer)})
        for writer in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert_whole(3 * ROUNDS)


def child() -> None:
    connection.settings_dict["NAME"] = os.environ["TEST_DATABASE_NAME"]
    write_rounds(int(os.environ["WRITER"]))


def test_a_rolled_back_writer_leaves_no_gap() -> None:
    write_rounds(0, 1)
    with pytest.raises(RuntimeError), transaction.atomic(), connection.cursor() as cursor:
        append(cursor, entries(CHAINS, "gone"))
        raise RuntimeError
    write_rounds(1, 1)
    assert_whole(2)
