"""kill -9 at each step between claim and publish (threats R1, A4, T16): one answer, one signature, every audit row."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from bunker.models import Request, RequestState
from bunker.services import bind_connection
from keycast.audit.models import AuditRow
from keycast.audit.services import verify
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.nostr.nip01 import parse_event, verify_event
from tests.bunker.support import Client, FakePort, Home, issue
from tests.paths import ROOT

# On PostgreSQL an heir waits for the dead worker's leases, some five seconds each time; on SQLite it sees the death.
ROUNDS = {"sqlite": 20}
ROUNDS_ELSEWHERE = 3
STEPS = (
    "before-claim",
    "before-claim-commit",
    "after-claim-commit",
    "after-claim",
    "after-sign",
    "after-encrypt",
    "before-result",
    "before-result-commit",
    "after-result-commit",
    "before-publish",
    "after-publish",
)
NEVER_CLAIMED = {"before-claim", "before-claim-commit"}
INTERRUPTED = {
    "after-claim-commit",
    "after-claim",
    "after-sign",
    "after-encrypt",
    "before-result",
    "before-result-commit",
}


class Zygote:
    """The process that forks workers (zygote.py)."""

    def __init__(self, process: asyncio.subprocess.Process, folder: str) -> None:
        self.process = process
        self.folder = folder
        self._numbers = itertools.count()

    async def start(self, step: str = "-") -> Child:
        path = f"{self.folder}/{next(self._numbers)}"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"START {path} {step}\n".encode())
        pid = int(await asyncio.wait_for(self.process.stdout.readline(), 20))
        for _ in range(500):
            try:
                reader, writer = await asyncio.open_unix_connection(path, limit=2**20)
                break
            except (FileNotFoundError, ConnectionRefusedError):  # not yet bound, or bound and not yet listening
                await asyncio.sleep(0.01)
        return Child(pid, reader, writer)


class Child:
    """One forked worker, seen from its relay's side."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.reader = reader
        self.writer = writer

    def send(self, raw: bytes) -> None:
        self.writer.write(raw + b"\n")

    async def lines(self, seconds: float) -> AsyncIterator[bytes]:
        """Replies until the worker dies or says nothing for ``seconds``."""
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), seconds)
            except (TimeoutError, ConnectionError):
                return
            if not line:
                return
            yield line.strip()

    def kill(self) -> None:
        self.writer.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        assert self.has_gone(5)

    def has_gone(self, seconds: float) -> bool:
        """True when the process ends within ``seconds``; its parent ignores SIGCHLD, so it leaves no zombie."""
        deadline = time.monotonic() + seconds
        while Path(f"/proc/{self.pid}").exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True


@pytest.fixture
async def zygote(transactional_db: None) -> AsyncIterator[Zygote]:
    environment = {**os.environ, "KEYCAST_TEST_ROOT": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment |= {"DATABASE_URL": _database_url(), "KEYCAST_LOG_LEVEL": "ERROR"}
    with tempfile.TemporaryDirectory(prefix="kc") as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("zygote.py")),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        yield Zygote(process, folder)
        process.kill()
        await process.wait()


def _database_url() -> str:
    known = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{known['NAME']}"
    return (
        f"postgres://{known['USER']}:{known['PASSWORD']}@{known['HOST'] or 'localhost'}:{known['PORT'] or 5432}/"
        f"{known['NAME']}"
    )


def _connect(home: Home, client: Client) -> None:
    """A bound connection, without a worker."""
    _, secret = issue(home)
    bind_connection(transport_id=home.transport.id, client_public_key=client.public_key, secret=secret)


def _rounds() -> int:
    return int(os.environ.get("KEYCAST_CRASH_ROUNDS") or ROUNDS.get(connection.vendor, ROUNDS_ELSEWHERE))


def _request(client: Client, content: str) -> tuple[str, bytes]:
    template = {"kind": 1, "content": content, "tags": [], "created_at": int(time.time())}
    return client.compose("sign_event", [json.dumps(template)], request_id=content)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
async def test_a_killed_worker_leaves_one_answer_and_no_gap(step: str, zygote: Zygote, home: Home) -> None:
    client = Client(FakePort(), home.transport.public_key)
    await sync_to_async(_connect)(home, client)
    for number in range(_rounds()):
        event_id, raw = _request(client, f"{step} {number}")
        answers = await _kill_and_restart(zygote, step, raw, client)
        results = {answer["result"] for answer in answers}
        assert len(results) == 1, (number, answers)
        assert verify_event(parse_event(results.pop()))
        await sync_to_async(_check_rows)(event_id, step)
    assert (await sync_to_async(verify)()).is_intact


async def _kill_and_restart(zygote: Zygote, step: str, raw: bytes, client: Client) -> list[dict[str, Any]]:
    """Let a worker die at ``step``, start another, and gather everything that either said."""
    doomed = await zygote.start(step)
    doomed.send(raw)
    said = [client.read(parse_event(line)) async for line in doomed.lines(10)]
    assert doomed.has_gone(2), f"{step} was never reached"
    heir = await zygote.start()
    if step in NEVER_CLAIMED:  # as a relay does that keeps events for a while
        heir.send(raw)
    wanted = json.loads(client.read_own(raw))["id"]
    async for line in heir.lines(10):
        said.append(client.read(parse_event(line)))
        if said[-1]["id"] == wanted:
            break
    heir.send(raw)  # and once more: it must not make a difference
    said += [client.read(parse_event(line)) async for line in heir.lines(0.15)]
    heir.kill()
    return [answer for answer in said if answer["id"] == wanted]  # replies of the last seconds are repeated


def _check_rows(event_id: str, step: str) -> None:
    row = Request.objects.get(event_id=event_id)
    assert row.state in {RequestState.PUBLISHED, RequestState.ANSWERED}
    rows = AuditRow.objects.filter(request_id=event_id, tag=AuditTag.SIGN_EVENT).order_by("id")
    outcomes = list(rows.values_list("outcome", flat=True))
    once = [AuditOutcome.INTENT, AuditOutcome.OK]
    again = [AuditOutcome.INTENT, AuditOutcome.UNKNOWN, AuditOutcome.INTENT, AuditOutcome.OK]
    assert outcomes == (again if step in INTERRUPTED else once), step
