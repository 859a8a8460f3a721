"""What ``/relay`` says over HTTP (NIP-11)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from bunker.relays import hub as hub_module
from bunker.relays.nip11 import relay_information
from tests.bunker.relays.support import make_hub


@pytest.fixture(autouse=True)
async def hub() -> Any:
    hub_module.set_hub(make_hub(subscriptions=7))
    yield
    hub_module.set_hub(None)


def ask(method: str = "get", accept: str = "application/nostr+json", **extra: Any) -> HttpResponse:
    request = getattr(RequestFactory(), method)("/relay", headers={"accept": accept})
    for name, value in extra.items():
        setattr(request, name, value)
    return relay_information(request)


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_nothing_can_be_sent_to_it(method: str) -> None:
    assert ask(method).status_code == 405


@pytest.mark.compliance(spec="NIP-11", section="Relay Information Document", requirement="CORS headers are sent")
@pytest.mark.parametrize("accept", ["application/nostr+json", "text/html", ""])
def test_any_origin_may_read_it(accept: str) -> None:
    answer = ask(accept=accept)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Vary"] == "Accept"


def test_a_preflight_is_answered() -> None:
    answer = ask("options")
    assert answer.status_code == 204
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.compliance(spec="NIP-11", section="Relay Information Document", requirement="served by Accept header")
def test_the_document_states_the_limits_that_are_enforced() -> None:
    class Tenant:
        name = "Café"

    answer = ask(tenant=Tenant())
    assert answer.headers["Content-Type"] == "application/nostr+json"
    document = json.loads(answer.content)
    assert document["name"] == "Café: remote signing"
    assert set(document["supported_nips"]) >= {1, 11, 40, 46}
    assert document["limitation"]["max_subscriptions"] == 7
    assert document["limitation"]["max_message_length"] == 1024 * 1024
    assert document["retention"][0] == {"kinds": [24133], "time": 60}


def test_people_get_a_line_of_text() -> None:
    answer = ask(accept="text/html")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"Nostr relay" in answer.content
