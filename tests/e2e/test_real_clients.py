"""Client libraries, as their authors ship them, use every method of NIP-46 with a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess

import pytest

from tests.e2e import client_table
from tests.e2e.client_runs import RELAYS, Found, clients, everything
from tests.e2e.conftest import CLIENTS
from tests.e2e.live import LiveServer

pytestmark = [pytest.mark.needs_node, pytest.mark.timeout(240)]


@pytest.mark.parametrize("path", ["built-in relay", "another relay"])
@pytest.mark.parametrize("client", ["nostr-tools", "nostrify"])
@pytest.mark.compliance(spec="NIP-46", section="Overview", requirement="existing clients work unchanged")
def test_a_real_client_uses_every_method(keycast_server: LiveServer, other_relay: str, client: str, path: str):
    npub, public_key = keycast_server.create_key(f"{client} over {path}")
    given = {
        "full": keycast_server.bunker_url(key=npub),
        "social": keycast_server.bunker_url(key=npub, policy="social"),
        "pubkey": public_key,
        "relay": keycast_server.relay_url if path == "built-in relay" else other_relay,
        "large": path == "built-in relay",
    }
    done = subprocess.run(
        ["node", f"{client}.mjs"],
        cwd=CLIENTS,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    assert not failed, json.dumps(failed, indent=1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(steps) > 35
    assert steps[-1]["step"] == "nothing is signed after logout"


@pytest.mark.compliance(spec="NIP-46", section="Overview", requirement="existing clients work unchanged")
def test_a_client_with_a_subscription_for_each_request_asks_a_hundred_things_at_once(keycast_server: LiveServer):
    npub, _ = keycast_server.create_key("many subscriptions")
    done = subprocess.run(
        ["node", "many-subscriptions.mjs"],
        cwd=CLIENTS,
        input=json.dumps({"bunker": keycast_server.bunker_url(key=npub), "counts": [20, 100, 200]}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step for step in steps if not step["ok"]] == []
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(steps) == 5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.compliance(spec="NIP-46", section="Overview", requirement="existing clients work unchanged")
def test_real_libraries_do_what_the_table_for_app_makers_says(keycast_server: LiveServer, other_relay: str):
    found = asyncio.run(everything(keycast_server, other_relay))
    assert not client_table.unexplained(found)
    for library in ("NDK 3", "NDK 2.12"):  # as the note says
        assert found[library, RELAYS[0], "cut"].detail.endswith("subscriptions opened since: 0")
    made = client_table.table(found)
    assert made == client_table.documented(), "renew it: python -m tests.e2e.client_table"


def test_applesauce_goes_on_signing_after_a_restart_of_ours(keycast_server: LiveServer, other_relay: str):
    found: Found = {}

    async def restart() -> None:
        async with clients(keycast_server, other_relay, found, ["applesauce"]) as (client,):
            await client.do("bunker", relays=RELAYS[:1])
            keycast_server.restart()
            await client.do("restart", relays=RELAYS[:1])

    asyncio.run(restart())
    assert {outcome.outcome for outcome in found.values()} == {"ok"}
    assert ("applesauce", RELAYS[0], "restart") in found
