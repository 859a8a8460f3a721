"""Only what proxies of ours wrote is believed."""

from __future__ import annotations

from typing import Any

import pytest

from keycast.proxies import TrustedProxies


async def seen(count: int, *headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    scopes: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    scheme = "http" if kind == "http" else "ws"
    scope = {"type": kind, "scheme": scheme, "client": ("10.0.0.1", 5), "headers": list(headers)}
    await TrustedProxies(application, count=count)(scope, None, None)
    return scopes[0]


FORWARDED = (b"x-forwarded-for", b"6.6.6.6, 5.5.5.5, 4.4.4.4")
HTTPS = (b"x-forwarded-proto", b"https")


async def test_nothing_is_believed_without_a_proxy() -> None:
    scope = await seen(0, FORWARDED, HTTPS)
    assert (scope["client"], scope["scheme"]) == (("10.0.0.1", 5), "http")


@pytest.mark.parametrize(("count", "client"), [(1, "4.4.4.4"), (2, "5.5.5.5"), (3, "6.6.6.6")])
async def test_the_address_comes_from_as_many_proxies_as_there_are(count: int, client: str) -> None:
    assert (await seen(count, FORWARDED))["client"] == (client, 0)


async def test_too_few_entries_leave_the_address_alone() -> None:
    assert (await seen(2, (b"x-forwarded-for", b"6.6.6.6")))["client"] == ("10.0.0.1", 5)


async def test_a_header_that_comes_twice_counts_as_one_list() -> None:
    scope = await seen(1, (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"4.4.4.4"))
    assert scope["client"] == ("4.4.4.4", 0)


async def test_the_nearest_proxy_says_which_scheme() -> None:
    assert (await seen(1, (b"x-forwarded-proto", b"https, http")))["scheme"] == "http"
    assert (await seen(1, HTTPS))["scheme"] == "https"
    assert (await seen(1, HTTPS, kind="websocket"))["scheme"] == "wss"


async def test_the_host_is_never_taken_from_a_header_about_it() -> None:
    scope = await seen(1, (b"host", b"a.example"), (b"x-forwarded-host", b"evil.example"))
    assert (b"host", b"a.example") in scope["headers"]
    assert scope.get("server") is None
