"""The deterministic conversation of nip46_flow.json, message by message, against the worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keycast.nostr import nip44
from keycast.nostr.nip01 import parse_event, verify_event
from tests.bunker.hostile.conftest import World


@pytest.mark.compliance(spec="NIP-46", section="Methods", requirement="each method answers as specified")
async def test_the_whole_conversation_goes_as_specified(flow: World) -> None:
    await flow.prepare("secret unused")
    for step in flow.vectors["flow"]:
        replies = await flow.deliver(step["request_event"])
        assert len(replies) == 1, step["name"]
        assert "error" not in replies[0], (step["name"], replies[0])
        _check(flow, step, replies[0])
    client = flow.clients[flow.vectors["pubkeys"]["client"]]
    assert "logged out" in (await client.ask("ping"))["error"]


def _check(flow: World, step: dict[str, Any], reply: dict[str, Any]) -> None:
    expected = step["expected_response"]
    assert reply["id"] == expected["id"]
    if step["name"] == "sign_event":
        event = parse_event(reply["result"])
        wanted = json.loads(expected["result"])
        assert verify_event(event)
        assert {name: getattr(event, name) for name in wanted if name != "sig"} == {
            name: value for name, value in wanted.items() if name != "sig"
        }
    elif step["name"] == "nip44_encrypt":
        stranger = flow.clients[flow.vectors["pubkeys"]["stranger"]]
        key = nip44.conversation_key(stranger.keypair, bytes.fromhex(flow.vectors["pubkeys"]["user"]))
        assert nip44.decrypt(reply["result"], key) == json.loads(step["request_plaintext"])["params"][1]
    else:
        assert reply["result"] == expected["result"]
