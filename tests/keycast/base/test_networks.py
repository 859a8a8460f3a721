"""For whom an address counts, and what a network may hold."""

from __future__ import annotations

import pytest

from keycast.base.networks import NetworkShares, network_of, networks_of


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("192.0.2.1:4711", ("192.0.2.1",)),
        ("::ffff:192.0.2.1", ("192.0.2.1",)),
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1:2::", "2001:db8:1::/48")),
        ("[2001:db8:1:2::7]:4711", ("2001:db8:1:2::", "2001:db8:1::/48")),
        ("fe80::1%eth0", ("fe80::", "fe80::/48")),
        ("unix:", ("unix:",)),
        ("", ("",)),
        ("x" * 1000, ("x" * 64,)),
    ],
)
def test_an_address_counts_for_its_network(address: str, networks: tuple[str, ...]) -> None:
    assert networks_of(address) == networks
    assert network_of(address) == networks[0]


def test_a_network_holds_its_share_and_no_more_by_changing_its_address() -> None:
    shares = NetworkShares(2)
    assert shares.take("2001:db8:1:2::1")
    assert shares.take("2001:db8:1:2::2")
    assert not shares.take("2001:db8:1:2:ffff::3")
    assert shares.take("192.0.2.1")


def test_a_site_holds_ten_times_as_much_in_all() -> None:
    shares = NetworkShares(2)
    taken = [shares.take(f"2001:db8:1:{number:x}::1") for number in range(30)]
    assert taken == [True] * 20 + [False] * 10
    assert shares.take("2001:db8:2::1")


def test_what_is_given_back_is_forgotten() -> None:
    shares = NetworkShares(2)
    for address in ("192.0.2.1", "2001:db8::1"):
        assert shares.take(address, 2)
        assert not shares.take(address)
        shares.give_back(address, 2)
        assert shares.take(address)
        shares.give_back(address)
    assert not shares.take("192.0.2.9", 3)
    assert len(shares) == 0
