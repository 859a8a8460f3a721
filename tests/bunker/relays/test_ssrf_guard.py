"""The SSRF guard: the whole corpus through a fake resolver and a fake connector. No socket is ever opened."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

from bunker.relays import ssrf_guard as guard_module
from bunker.relays.ssrf_guard import OutboundPolicy, RelayRefused, SsrfGuard, check_url, is_public
from tests import vectors

PUBLIC = "93.184.215.14"


class Opened:
    """What the fake connector hands out instead of a socket."""


@dataclass
class Network:
    """Answers look-ups from a table, in turn, and notes every connection that is asked for."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)
    delay: float = 0.0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        await asyncio.sleep(self.delay)
        answers = self.answers.get(host)
        if not answers:
            raise socket.gaierror("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect(self, address: str, port: int) -> Any:
        self.connected.append((address, port))
        if address in self.unreachable:
            raise ConnectionRefusedError(f"{address} refused, which nobody may read")
        return Opened()

    def guard(self, **policy: Any) -> SsrfGuard:
        return SsrfGuard(OutboundPolicy(**policy), self.resolve, self.connect)


@pytest.mark.parametrize(
    "row", vectors.rows("uris_and_relay_urls.json", lambda corpus: corpus["relay_urls"], lambda row: row["why"])
)
async def test_every_url_of_the_corpus_ends_as_it_says(row: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(guard_module, "RESOLVE_SECONDS", 0.05)
    host = row["url"].split("//")[-1].split("/")[0]
    network = Network({host: row.get("stub_dns", [])}, delay=1.0 if "slow" in row["url"] else 0.0)
    if row["expect"] == "deny":
        with pytest.raises(RelayRefused) as refusal:
            await network.guard().open(row["url"])
        assert str(refusal.value) == "This relay cannot be used."
        assert network.connected == []
    else:  # "deny redirect": the address is public; the handshake refuses (test_outbound)
        relay, _ = await network.guard().open(row["url"])
        assert network.connected == [(PUBLIC, 443)]
        assert relay.is_tls


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2001:10::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "not an address",
        "",
    ],
)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "answer", [[PUBLIC, "127.0.0.1"], ["::1", PUBLIC], [PUBLIC, "2002:7f00:1::"], [], [PUBLIC] * 17, ["fe80::1%eth0"]]
)
async def test_one_private_answer_among_public_ones_refuses_the_name(answer: list[str]) -> None:
    network = Network({"mixed.example": [answer]})
    with pytest.raises(RelayRefused):
        await network.guard().open("wss://mixed.example")
    assert network.connected == []


async def test_a_name_that_changes_its_answer_is_asked_once_and_the_checked_address_is_used() -> None:
    network = Network({"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    relay, _ = await network.guard().open("wss://rebind.example/path")
    assert (relay.host, relay.port) == ("rebind.example", 443)
    assert network.looked_up == ["rebind.example"]
    assert network.connected == [(PUBLIC, 443)]
    with pytest.raises(RelayRefused):
        await network.guard().open("wss://rebind.example/path")


async def test_every_failure_reads_the_same() -> None:
    network = Network({"down.example": [[PUBLIC]], "private.example": [["10.0.0.1"]]}, unreachable={PUBLIC})
    texts = set()
    for url in ("wss://down.example", "wss://private.example", "wss://missing.example", "wss://a.example:22", "x"):
        with pytest.raises(RelayRefused) as refusal:
            await network.guard().open(url)
        texts.add(str(refusal.value))
        assert refusal.value.__cause__ is None
    assert len(texts) == 1


async def test_addresses_are_tried_in_turn_but_not_without_end() -> None:
    addresses = [f"93.184.215.{number}" for number in range(1, 9)]
    network = Network({"many.example": [addresses]}, unreachable=set(addresses[:2]))
    await network.guard().open("wss://many.example")
    assert [address for address, _ in network.connected] == addresses[:3]
    network.unreachable = set(addresses)
    network.connected.clear()
    with pytest.raises(RelayRefused):
        await network.guard().open("wss://many.example")
    assert len(network.connected) == 3


@pytest.mark.parametrize(
    "url", ["ws://relay.example.com", "wss://relay.example.com:8443", "wss://relay.example.com:80"]
)
def test_clear_text_and_other_ports_need_the_operators_word(url: str) -> None:
    with pytest.raises(RelayRefused):
        check_url(url, OutboundPolicy())
    assert check_url(url, OutboundPolicy(operator_urls=frozenset({url}))).host == "relay.example.com"


def test_a_port_can_be_allowed() -> None:
    assert check_url("wss://relay.example.com:8443", OutboundPolicy(ports=frozenset({443, 8443}))).port == 8443


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:7777"])
async def test_an_operator_may_allow_a_private_host(allowed: str) -> None:
    network = Network()
    await network.guard(private_hosts=frozenset({allowed})).open("ws://127.0.0.1:7777")
    assert network.connected == [("127.0.0.1", 7777)]
    with pytest.raises(RelayRefused):
        await network.guard(private_hosts=frozenset({"127.0.0.1:7778"})).open("ws://127.0.0.1:7777")


async def test_an_allowed_name_may_be_private() -> None:
    network = Network({"relay": [["10.0.0.7"]]})
    await network.guard(private_hosts=frozenset({"relay"})).open("ws://relay:8080")
    assert network.connected == [("10.0.0.7", 8080)]


async def test_an_operators_relay_must_still_be_public() -> None:
    network = Network({"relay.example.com": [["10.0.0.7"]]})
    url = "wss://relay.example.com:8443"
    with pytest.raises(RelayRefused):
        await network.guard(operator_urls=frozenset({url})).open(url)


@pytest.mark.parametrize("host", ["localhost", "printer", "db.internal", "x.onion", "a.local", "svc.cluster.svc"])
async def test_local_names_are_not_even_looked_up(host: str) -> None:
    network = Network({host: [[PUBLIC]]})
    with pytest.raises(RelayRefused):
        await network.guard().open(f"wss://{host}")
    assert network.looked_up == []


def test_the_policy_is_read_from_settings(settings: Any) -> None:
    settings.RELAY_ALLOWED_PRIVATE_HOSTS = [" Relay.Local:7777 "]
    settings.OUTBOUND_RELAYS = ["wss://Relay.Example.com:8443/"]
    settings.RELAY_ALLOWED_PORTS = ["4443"]
    policy = OutboundPolicy.from_settings()
    assert policy.private_hosts == {"relay.local:7777"}
    assert policy.operator_urls == {"wss://relay.example.com:8443"}
    assert policy.ports == {443, 4443}


async def test_the_real_connector_closes_what_it_could_not_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        opened = await guard_module.connect("127.0.0.1", port)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        opened.close()
    with pytest.raises(ConnectionRefusedError):
        await guard_module.connect("127.0.0.1", port)


async def test_the_real_resolver_gives_addresses() -> None:
    assert await guard_module.resolve("127.0.0.1", 443) == ["127.0.0.1"]
