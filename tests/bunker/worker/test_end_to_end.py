"""From a bunker URL to a signed note, through the whole worker."""

from __future__ import annotations

import json

from keycast.nostr.nip01 import parse_event, verify_event
from tests.bunker.conftest import Running, connected
from tests.bunker.support import Home


async def test_a_client_pairs_pings_and_has_a_note_signed(worker: Running, home: Home) -> None:
    client = await connected(worker, home)
    assert (await client.ask("ping"))["result"] == "pong"
    assert (await client.ask("get_public_key"))["result"] == home.key.public_key
    answer = await client.sign("hello")
    event = parse_event(answer["result"])
    assert verify_event(event)
    assert event.pubkey == home.key.public_key
    assert json.loads(answer["result"])["content"] == "hello"
