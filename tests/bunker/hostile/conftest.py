"""The world of vectors/nip46_hostile.json and nip46_flow.json: their keys, their secret, their frozen clock."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.utils import timezone

from bunker import services
from bunker.models import Connection, ConnectionState
from bunker.worker.runtime import BunkerWorker
from keycast.audit.models import AuditRow
from keycast.nostr.nip01 import Event
from tests.bunker.conftest import running_worker
from tests.bunker.support import ACTOR, Client, FakePort, Home, issue, make_home, regrant, unscoped

ALLOWED = {
    "sign_event:1": {"effect": "allow", "methods": ["sign_event"], "kinds": [1]},
    "nip44_encrypt": {"effect": "allow", "methods": ["nip44_encrypt"], "peers": "any"},
    "nip44_decrypt": {"effect": "allow", "methods": ["nip44_decrypt"], "peers": "any"},
}
DECRYPT = "nip44_decrypt"


class World:
    """Both signers of the vectors behind one worker, and the preconditions that cases name."""

    def __init__(self, vectors: dict[str, Any], worker: BunkerWorker, port: FakePort, home: Home) -> None:
        self.vectors = vectors
        self.worker = worker
        self.port = port
        self.home = home
        self.secret: str = vectors["connect_secret"]
        self.granted: list[str] = vectors.get("granted_perms", list(ALLOWED))
        secrets, signer = vectors["secrets"], vectors["pubkeys"]["signer"]
        self.clients = {
            vectors["pubkeys"][name]: Client(port, signer, secrets[name])
            for name in ("client", "client2", "stranger")
            if name in secrets
        }

    async def prepare(self, precondition: str) -> None:
        """Bring about what a case presupposes."""
        if precondition == "after first delivery":
            return
        if precondition == "secret unused":
            await sync_to_async(self._forget_connections)()
            await sync_to_async(self._offer)()
        else:
            granted = [name for name in self.granted if name != DECRYPT or "not granted" not in precondition]
            await sync_to_async(self._connect)(granted)
        await self.worker.reconciler.reload([self.home.transport.id])

    def _forget_connections(self) -> None:
        with unscoped():
            for connection in Connection.objects.filter(key=self.home.key):
                services.revoke_connection(actor=ACTOR, connection=connection)
            Connection.objects.filter(key=self.home.key).update(secret_hash=None)

    def _offer(self, granted: list[str] | None = None) -> Connection:
        connection, _ = issue(self.home)
        policy = {"version": 1, "rules": [ALLOWED[name] for name in granted or self.granted]}
        with unscoped():
            secret_hash = hashlib.sha256(self.secret.encode()).digest()
            regrant(Connection.objects.filter(id=connection.id), secret_hash=secret_hash, policy=policy)
        return connection

    def _connect(self, granted: list[str]) -> None:
        client = self.vectors["pubkeys"]["client"]
        with unscoped():
            live = Connection.objects.filter(key=self.home.key, state=ConnectionState.ACTIVE).first()
            rules = [ALLOWED[name] for name in granted]
            if live is not None and live.client_public_key == client and live.policy["rules"] == rules:
                return
            self._forget_connections()
            connection = self._offer(granted)
            regrant(
                Connection.objects.filter(id=connection.id),
                state=ConnectionState.ACTIVE,
                client_public_key=client,
                bound_at=timezone.now(),
                secret_expires_at=timezone.now() + timedelta(minutes=10),
            )

    async def deliver(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Send one event as it stands and wait until the worker has done with it; the replies, read."""
        before = len(self.port.published)
        self.port.send(msgspec.json.encode(event))
        while self.worker.stats.in_flight or self.worker.stats.queued:
            await asyncio.sleep(0.002)
        return [self.read(reply) for reply in self.port.published[before:]]

    def read(self, reply: Event) -> dict[str, Any]:
        return self.clients[reply.tags[0][1]].read(reply)


def audit_rows(**wanted: Any) -> list[AuditRow]:
    return list(AuditRow.objects.filter(**wanted).order_by("id"))


async def world_of(vectors: dict[str, Any]) -> AsyncIterator[World]:
    with time_machine.travel(vectors["now"], tick=True):
        secrets = vectors["secrets"]
        home = await sync_to_async(make_home)(user_secret=secrets["user"], signer_secret=secrets["signer"])
        if "user2" in secrets:
            await sync_to_async(make_home)(user_secret=secrets["user2"], signer_secret=secrets["signer2"])
        async with running_worker() as (worker, port):
            yield World(vectors, worker, port, home)


@pytest.fixture
async def hostile(transactional_db: None, settings: Any) -> AsyncIterator[World]:
    from tests.vectors import load

    settings.DEBUG = True  # the vectors' keys are published, and refused otherwise
    async for world in world_of(load("nip46_hostile.json")):
        yield world


@pytest.fixture
async def flow(transactional_db: None, settings: Any) -> AsyncIterator[World]:
    from tests.vectors import load

    settings.DEBUG = True
    async for world in world_of(load("nip46_flow.json")):
        yield world


def content_of(answer: dict[str, Any]) -> Any:
    return json.loads(answer["result"])
