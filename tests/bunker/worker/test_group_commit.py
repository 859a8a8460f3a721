"""The group-commit writer: nothing is released that is not durable, and nobody suffers for another's row."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from bunker.models import Request, ShardLease
from bunker.worker import commit_transaction
from bunker.worker import group_commit as batch_module
from bunker.worker.commit_jobs import FENCED, RESEND_MS, STORED, AlreadyClaimed, AuditWrite, ClaimWrite, ReplyWrite
from bunker.worker.group_commit import BatchWriter
from bunker.worker.leases import beat, register_worker
from bunker.worker.sql import FinishRow, RequestRow
from bunker.worker.stats import WorkerStats
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.errors import AuditUnavailable
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.errors import Unavailable

TENANT = uuid.uuid4().hex
ME = "w" * 16


def entry(outcome: AuditOutcome = AuditOutcome.INTENT) -> AuditEntry:
    return AuditEntry(TENANT, AuditTag.SIGN_EVENT, outcome, Actor.client("c" * 64), request_id="e" * 64)


def claim(fence: int, event_id: str = "", request_id: str = "", **changes: Any) -> ClaimWrite:
    row = RequestRow(
        event_id=event_id or os.urandom(32).hex(),
        tenant_id=TENANT,
        transport_id=TENANT,
        connection_id=TENANT,
        client_public_key="c" * 64,
        request_id=request_id or os.urandom(8).hex(),
        body_hash=b"b" * 32,
        method="ping",
        shard=0,
        fence=fence,
        state="claimed",
        event="{}",
        reply="",
        claimed_at=1,
        expires_at=2**50,
    )
    return ClaimWrite(row._replace(**changes), (entry(),), None)


@pytest.fixture
async def fence(transactional_db: None) -> int:
    await sync_to_async(register_worker)(ME, exclusive=False)
    return int((await sync_to_async(beat)(ME, {})).fences[0])


@pytest.fixture
async def writer(fence: int) -> AsyncIterator[BatchWriter]:
    writer = BatchWriter(ME, WorkerStats())
    writer.start()
    yield writer
    await writer.stop()


async def test_when_the_audit_log_cannot_be_written_nothing_is_stored(writer: BatchWriter, fence: int) -> None:
    with mock.patch.object(commit_transaction, "append", side_effect=AuditUnavailable), pytest.raises(Unavailable):
        await writer.submit(claim(fence))
    assert not await Request.objects.aexists()
    assert await writer.submit(claim(fence)) is STORED


async def test_a_commit_that_fails_releases_nothing(writer: BatchWriter, fence: int) -> None:
    with (
        mock.patch.object(batch_module.transaction, "atomic", side_effect=OperationalError("disk I/O error")),
        pytest.raises(Unavailable),
    ):
        await writer.submit(claim(fence))
    assert not await Request.objects.aexists()


async def test_a_locked_database_is_tried_once_more(writer: BatchWriter, fence: int) -> None:
    genuine, failures = commit_transaction.append, [OperationalError("database is locked")]

    def once(*args: Any) -> None:
        if failures:
            raise failures.pop()
        genuine(*args)

    with mock.patch.object(commit_transaction, "append", side_effect=once):
        assert await writer.submit(claim(fence)) is STORED
    assert await AuditRow.objects.acount() == 1


async def test_an_event_is_claimed_once_and_its_request_id_too(writer: BatchWriter, fence: int) -> None:
    first = claim(fence, "a" * 64, "r")
    outcomes = await asyncio.gather(
        *map(writer.submit, [first, claim(fence, "a" * 64), claim(fence, "b" * 64, "r"), claim(fence)])
    )
    assert outcomes[0] is STORED
    assert isinstance(outcomes[1], AlreadyClaimed)
    assert isinstance(outcomes[2], AlreadyClaimed)
    assert outcomes[2].event_id == "a" * 64
    assert outcomes[3] is STORED
    assert await AuditRow.objects.acount() == 2


async def test_a_worker_that_lost_its_shard_can_neither_claim_nor_finish(writer: BatchWriter, fence: int) -> None:
    held = claim(fence, "a" * 64)
    assert await writer.submit(held) is STORED
    await ShardLease.objects.filter(shard=0).aupdate(owner="another", fence=fence + 1)
    assert await writer.submit(claim(fence)) is FENCED
    assert (
        await writer.submit(ReplyWrite(FinishRow("a" * 64, fence, "answered", "x"), 0, (entry(AuditOutcome.OK),)))
        is FENCED
    )
    assert await writer.submit(AuditWrite((entry(),), 0, fence)) is FENCED
    assert await AuditRow.objects.acount() == 1
    assert (await Request.objects.aget()).reply == ""


async def test_a_result_is_stored_once(writer: BatchWriter, fence: int) -> None:
    await writer.submit(claim(fence, "a" * 64))
    finish = FinishRow("a" * 64, fence, "answered", "x")
    assert await writer.submit(ReplyWrite(finish, 0, (entry(AuditOutcome.OK),))) is STORED
    assert await writer.submit(ReplyWrite(finish, 0, (entry(AuditOutcome.OK),))) is FENCED
    assert await AuditRow.objects.acount() == 2


async def test_one_row_that_cannot_be_stored_does_not_spoil_the_others(writer: BatchWriter, fence: int) -> None:
    jobs = [claim(fence), claim(fence, transport_id=None), claim(fence)]
    results = await asyncio.gather(*map(writer.submit, jobs), return_exceptions=True)
    assert results[0] is STORED
    assert isinstance(results[1], Unavailable)
    assert results[2] is STORED


async def test_a_full_queue_says_no_at_once(fence: int) -> None:
    writer = BatchWriter(ME, WorkerStats(), capacity=0)
    writer.start()
    with pytest.raises(Unavailable):
        await writer.submit(claim(fence))
    await writer.stop()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
async def test_a_connection_that_the_server_ended_costs_nobody_an_answer(writer: BatchWriter, fence: int) -> None:
    assert await writer.submit(claim(fence)) is STORED
    pid = await writer.execute(_backend)
    await sync_to_async(_end_backend)(pid)
    assert await writer.submit(claim(fence)) is STORED
    assert await Request.objects.acount() == await AuditRow.objects.acount() == 2


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _end_backend(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.parametrize("state", ["claimed", "answered"])
async def test_a_request_id_whose_request_is_not_finished_stays_taken(
    writer: BatchWriter, fence: int, state: str
) -> None:
    first = claim(fence, request_id="1", state=state)
    await writer.submit(first)
    outcome = await writer.submit(claim(fence, request_id="1", claimed_at=10 * RESEND_MS))
    assert isinstance(outcome, AlreadyClaimed)
    assert outcome.event_id == first.row.event_id


async def test_a_request_id_stays_taken_while_a_resend_may_still_come(writer: BatchWriter, fence: int) -> None:
    await writer.submit(claim(fence, request_id="1", state="published"))
    outcome = await writer.submit(claim(fence, request_id="1", body_hash=b"o" * 32, claimed_at=RESEND_MS + 1))
    assert isinstance(outcome, AlreadyClaimed)


async def test_an_event_stays_known_however_old_it_is(writer: BatchWriter, fence: int) -> None:
    first = claim(fence, request_id="1", state="published")
    await writer.submit(first)
    again = claim(fence, event_id=first.row.event_id, request_id="1", claimed_at=10 * RESEND_MS)
    assert isinstance(await writer.submit(again), AlreadyClaimed)


async def test_a_request_id_is_free_again_when_no_resend_can_mean_it(writer: BatchWriter, fence: int) -> None:
    first = claim(fence, request_id="1", state="published")
    second = claim(fence, request_id="1", body_hash=b"o" * 32, claimed_at=RESEND_MS + 2)
    await writer.submit(first)
    assert await writer.submit(second) is STORED
    third = claim(fence, event_id=first.row.event_id, request_id="1", claimed_at=RESEND_MS + 3)
    known = await writer.submit(third)  # the first event, sent once more
    assert isinstance(known, AlreadyClaimed)
    assert known.event_id == first.row.event_id
    ids = {row.event_id: row.request_id async for row in Request.objects.all()}
    assert ids == {first.row.event_id: f"released:{first.row.event_id}", second.row.event_id: "1"}
