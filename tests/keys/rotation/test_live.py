"""Rotation under live signing (threats K8): fifty signatures a second, and its process killed fifty times."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django_scopes import scopes_disabled

from keycast.audit.services import verify
from keycast.nostr.nip01 import parse_event, verify_event
from keys import services as key_services
from keys.lifecycle.creation import WantedKey
from keys.models import Rotation, RotationState
from keys.rotation import retiring, services
from tests.bunker.conftest import connected, running_worker
from tests.bunker.support import ACTOR, Client, Home, make_home
from tests.keys.rotation.forking import Zygote, opening_versions, sealed_under, versions

pytestmark = pytest.mark.opens_keys

SIGNERS = 5
OTHERS = 60
RATE = 50.0
KILLS = 50
ENDED = (RotationState.DONE, RotationState.FAILED, RotationState.CANCELLED)


@pytest.fixture
def zygote(transactional_db, kek_file):
    process = Zygote()
    yield process
    process.close()


@dataclass
class Load:
    """Clients that ask for signatures at an even pace, and never wait for an answer before they ask again."""

    clients: list[Client]
    asked: int = 0
    notes: list[dict[str, Any]] = field(default_factory=list)
    _waiting: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        readers = [asyncio.create_task(self._read(client)) for client in self.clients]
        began = time.monotonic()
        while not stop.is_set():
            self._ask(self.clients[self.asked % len(self.clients)])
            await asyncio.sleep(max(began + self.asked / RATE - time.monotonic(), 0))
        await asyncio.wait_for(asyncio.gather(*self._waiting.values()), 20)
        self.notes = [waited.result() for waited in self._waiting.values()]
        for reader in readers:
            reader.cancel()

    def _ask(self, client: Client) -> None:
        self.asked += 1
        request_id = f"note-{self.asked}"
        self._waiting[request_id] = asyncio.get_running_loop().create_future()
        template = {"kind": 1, "content": request_id, "tags": [], "created_at": int(time.time())}
        assert client.port.send(client.compose("sign_event", [json.dumps(template)], request_id)[1]) is None

    async def _read(self, client: Client) -> None:
        while True:
            answer = client.read(await client._inbox.get())
            waiting = self._waiting[answer["id"]]
            if not waiting.done():
                waiting.set_result(answer)


def _populate() -> list[Home]:
    """A few keys that sign, and more that are only there to be rotated."""
    homes = [make_home() for _ in range(SIGNERS)]
    home = homes[0]
    with scopes_disabled():
        wanted = [WantedKey(home.user, f"Other {number}") for number in range(OTHERS)]
        key_services.add_keys(actor=ACTOR, tenant=home.tenant, wanted=wanted)
    return homes


def _killed_again_and_again(zygote: Zygote) -> int:
    """Rotate, and kill it at any time at all; a new one is begun when the last one came through. How many ended."""
    ended = 0
    for _ in range(KILLS):
        latest = Rotation.objects.first()
        is_over = latest is None or latest.state in ENDED
        ended += bool(latest) and is_over
        pid = zygote.start("rotate_kek", "--all", *([] if is_over else ["--resume"]))
        time.sleep(random.uniform(0.02, 0.45))  # noqa: S311 -- any moment will do
        zygote.kill(pid)
    for _ in range(5):  # a busy machine may have the database refuse a while
        latest = Rotation.objects.first()
        if latest is None or latest.state not in ENDED:
            zygote.run("rotate_kek", "--all", "--resume")
    connections.close_all()
    return ended


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_fifty_signatures_a_second_while_it_is_killed_fifty_times(zygote, kek_file) -> None:
    homes = await sync_to_async(_populate)()
    async with running_worker() as running:
        load = Load([await connected(running, home) for home in homes])
        stop = asyncio.Event()
        signing = asyncio.create_task(load.run(stop))
        await asyncio.to_thread(_killed_again_and_again, zygote)
        await sync_to_async(_check_rows)(kek_file)
        await sync_to_async(_retire_everything_old)(kek_file)
        await asyncio.sleep(0.5)
        stop.set()
        await signing
    assert load.asked >= 200
    assert [note for note in load.notes if "error" in note] == []
    assert all(verify_event(parse_event(note["result"])) for note in load.notes)
    assert (await sync_to_async(verify)()).is_intact


def _check_rows(kek_file) -> None:
    """Each row opens with exactly one version, the current one; and what was begun has ended well."""
    rows = 2 * (SIGNERS + OTHERS)
    assert sealed_under() == {versions(kek_file)[-1]: rows}
    assert opening_versions(kek_file) == {1: rows}
    states = {(rotation.state, rotation.failed) for rotation in Rotation.objects.all()}
    assert states == {(RotationState.DONE, 0)}
    assert services.progress(Rotation.objects.first()).percent == 100


def _retire_everything_old(kek_file) -> None:
    """With only the current version left, the workers go on signing."""
    for number, version in enumerate(versions(kek_file)[:-1]):
        retiring.retire_kek(actor=ACTOR, version=version, archive=kek_file.with_name(f"old-{number}"))
    assert len(versions(kek_file)) == 1
