"""Every form of our relay's URL that a client makes of it leads to the built-in relay, on every tenant's host."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.test import Client as WebClient
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bunker.relay_addresses import is_built_in
from bunker.relays.consumer import RelayConsumer
from keycast.routing import PathRouter
from tests.bunker.relays.support import CLIENT, Client, Sink, make_hub, scope_of, served
from tests.bunker.support import make_tenant

ME = CLIENT.public_key_hex
FORMS = ["/relay", "/relay/", "/relay//", "//relay", "//relay/", "/%72elay", "/relay/?x=1", "/relay?"]
OTHERS = ["/", "/relays", "/relay/x", "/relay/relay", "/Relay", "/x/relay", "/relay%2f..", "/relay%00", ""]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    hub = make_hub(Sink())
    router = PathRouter(RelayConsumer.as_asgi(hub=hub, resolve_scope=scope_of))
    async with served(hub, application=router) as url:
        yield int(url.split(":")[2].split("/")[0])


@pytest.mark.parametrize("path", OTHERS)
async def test_other_paths_are_refused(port: int, path: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(f"ws://a.example{path}", host="127.0.0.1", port=port, proxy=None):
            pass
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("host", ["a.example", "b.example", "b.example:80"])
@pytest.mark.parametrize("path", FORMS)
async def test_every_form_is_served_on_every_host(port: int, path: str, host: str) -> None:
    async with connect(f"ws://{host}{path}", host="127.0.0.1", port=port, proxy=None) as socket:
        assert await Client(socket).subscribe(p=[ME]) == []


@pytest.mark.parametrize("path", OTHERS)
def test_other_addresses_are_not_ours(path: str) -> None:
    assert not is_built_in(f"wss://keys.example{path}", {"keys.example"})


@pytest.mark.parametrize("path", FORMS)
def test_no_form_of_our_own_address_is_an_outbound_relay(path: str) -> None:
    assert is_built_in(f"wss://keys.example{path}", {"keys.example"})
    assert is_built_in(f"ws://keys.example:8000{path}", {"keys.example"})
    assert is_built_in(f"ws://[::1]:8000{path}", {"[::1]"})
    assert not is_built_in(f"wss://other.example{path}", {"keys.example"})


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/relay", "/relay/", "/relay//"])
def test_the_relay_information_document_is_there_too(path: str) -> None:
    host = f"{make_tenant().slug}.localhost"
    answer = WebClient().get(path, headers={"accept": "application/nostr+json", "host": host})
    assert answer.status_code == 200
    assert answer.json()["supported_nips"]
