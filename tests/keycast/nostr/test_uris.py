"""Relay URLs, bunker URIs and nostrconnect URIs: one normal form, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip46 import RequestedPermission
from keycast.nostr.uris import (
    MAX_NAME,
    MAX_RELAYS,
    BunkerUri,
    NostrConnectUri,
    UriError,
    normalize_relay_url,
)

KEY = Keypair.generate()[0].public_key_hex
PICTURE = "data:image/png;base64," + "A" * 20_000
RELAY = "wss%3A%2F%2Frelay.example.com"


def bunker(query, key=KEY):
    return f"bunker://{key}?{query}"


def connect(query, key=KEY):
    return f"nostrconnect://{key}?{query}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "wss://",
        "wss:///x",
        "wss:relay.example",
        "//relay.example",
        "relay.example",
        "http://relay.example",
        "https://relay.example",
        "javascript:alert(1)",
        "wss://relay.example#x",
        "wss://relay.example/#",
        "wss://user@relay.example",
        "wss://user:pass@relay.example/",
        "wss://relay.example\\@evil.example/",
        "wss://relay.example:0",
        "wss://relay.example:65536",
        "wss://relay.example:",
        "wss://relay.example:1x",
        "wss://relay.example:+1",
        "wss://relay.example:\u0661",
        "wss://relay.example./",
        "wss://.relay.example",
        "wss://relay..example",
        "wss://-relay.example",
        "wss://relay-.example",
        "wss://" + "a" * 64 + ".example",
        "wss://" + "a." * 130 + "example",
        "wss://relay.example/" + "a" * 600,
        "wss://127.1",
        "wss://1",
        "wss://2130706433",
        "wss://0x7f.1",
        "wss://relay.0x7f",
        "wss://relay.123",
        "wss://256.1.1.1",
        "wss://01.2.3.4",
        "wss://1.2.3.4.",
        "wss://[::1",
        "wss://[::1%25eth0]",
        "wss://[::g]",
        "wss://[1.2.3.4]",
        "wss://relay%2eexample",
        "wss://rel ay.example",
        "wss://relay.example/a b",
        "wss://relay.example/%zz",
        "wss://relay.example/%2",
        "wss://relay.example/\t",
        "wss://relay.example\n",
        "\twss://relay.example",
        "wss://relay.example\0",
        "wss://rélay.example",
        "wss://relay.example/é",
        "wss://relay.example/<script>",
        'wss://relay.example/"',
    ],
    ids=ascii,
)
def test_a_relay_url_with_a_second_reading_is_refused(url):
    with pytest.raises(UriError) as refusal:
        normalize_relay_url(url)
    assert refusal.value.code == "relay-url"


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("wss://relay.example.com", "wss://relay.example.com"),
        ("WSS://Relay.Example.COM/", "wss://relay.example.com"),
        ("wss://relay.example.com:443/", "wss://relay.example.com"),
        ("ws://relay.example.com:80", "ws://relay.example.com"),
        ("ws://relay.example.com:443", "ws://relay.example.com:443"),
        ("wss://relay.example.com:0443", "wss://relay.example.com"),
        ("wss://relay.example.com/Path/?A=b", "wss://relay.example.com/Path/?A=b"),
        ("wss://relay.example.com?x=1", "wss://relay.example.com?x=1"),
        ("wss://relay.example.com/%7Ba", "wss://relay.example.com/%7Ba"),
        ("wss://xn--rlay-9qa.example", "wss://xn--rlay-9qa.example"),
        ("ws://127.0.0.1:8000/relay", "ws://127.0.0.1:8000/relay"),
        ("ws://localhost:8000/relay", "ws://localhost:8000/relay"),
        ("wss://[2001:DB8:0:0::1]:8443", "wss://[2001:db8::1]:8443"),
        ("wss://a_b.example", "wss://a_b.example"),
    ],
)
def test_a_relay_url_has_one_normal_form(url, normal):
    assert normalize_relay_url(url) == normal
    assert normalize_relay_url(normal) == normal


@given(
    st.text(max_size=80) | st.text(st.sampled_from("ws:/.@[]%?#0x1a\\"), max_size=30).map(lambda tail: "wss://" + tail)
)
def test_no_text_makes_normalising_raise_anything_else(url):
    try:
        normal = normalize_relay_url(url)
    except UriError:
        return
    assert normalize_relay_url(normal) == normal


@pytest.mark.parametrize("text", [None, 1, b"wss://relay.example"])
def test_what_is_not_text_is_refused(text):
    for parse in (normalize_relay_url, BunkerUri.parse, NostrConnectUri.parse):
        with pytest.raises(UriError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed"),
        (connect(f"relay={RELAY}"), "secret-missing"),
        (connect(f"relay={RELAY}&secret="), "secret-missing"),
        (connect(f"relay={RELAY}&secret=a&secret=b"), "secret-twice"),
        (connect(f"relay={RELAY}&secret={'a' * 257}"), "secret-malformed"),
        (connect(f"relay={RELAY}&secret=a%00"), "secret-malformed"),
        (connect(f"relay={RELAY}&secret=a%E2%80%AE"), "secret-malformed"),
        (connect("secret=a"), "relay-missing"),
        (connect("relay=&secret=a"), "relay-url"),
        (connect("relay=https%3A%2F%2Fx.example&secret=a"), "relay-url"),
        (connect(f"relay={RELAY}&secret=a#x"), "secret-malformed"),
        (connect(f"relay={RELAY}&secret=a%FF"), "secret-malformed"),
        (connect(f"relay={RELAY}&secret=a", key=KEY.upper() + ""), "public-key"),
        (connect(f"relay={RELAY}&secret=a", key="f" * 64), "public-key"),
        (connect(f"relay={RELAY}&secret=a", key=KEY + "/path"), "public-key"),
        (connect(f"relay={RELAY}&secret=a", key=KEY + "//"), "public-key"),
        (connect(f"relay={RELAY}&secret=a", key="user@" + KEY), "public-key"),
        (f"nostrconnect:{KEY}?relay={RELAY}&secret=a", "malformed"),
        (f"nostrconnect://{KEY}", "malformed"),
        (f"bunker://{KEY}?relay={RELAY}&secret=a", "malformed"),
        ("nostrconnect://" + "a" * 70_000, "too-long"),
    ],
)
@pytest.mark.compliance(spec="NIP-46", section="nostrconnect://", requirement="a malformed URI is refused")
def test_a_broken_nostrconnect_uri_is_refused(text, code):
    with pytest.raises(UriError) as refusal:
        NostrConnectUri.parse(text)
    assert refusal.value.code == code
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ("&relay=", {"left_out": [("relay", "")]}),
        ("&relay=https%3A%2F%2Fx.example", {"left_out": [("relay", "https://x.example")]}),
        ("&relay=relay.example", {"left_out": [("relay", "relay.example")]}),
        ("&perms=sign_event%3Ax", {"left_out": [("perms", "sign_event:x")]}),
        ("&perms=undefined", {"left_out": [("perms", "undefined")]}),
        ("&perms=ping&perms=logout", {}),
        ("&url=javascript%3Aalert(1)", {"url": "", "left_out": [("url", "javascript:alert(1)")]}),
        ("&image=data%3Ax", {"image": "", "left_out": [("image", "data:x")]}),
        ("&name=a&name=b", {"name": "a"}),
        ("&name=My app", {"name": "My app"}),
        ("&name=C# app", {"name": "C# app"}),
        ("&name=\N{ROCKET} é", {"name": "\N{ROCKET} é"}),
        ("&name=100%", {"name": "100%"}),
        ("&name=a%FFb", {"name": "a\N{REPLACEMENT CHARACTER}b"}),
        ("&name=a\r\nb", {"name": "ab"}),
        ("\n", {}),
        ("&secret=a", {}),
        (f"&image={PICTURE}", {"image": "", "left_out": [("image", PICTURE[:MAX_NAME])]}),
        ("".join(f"&field{number}=x" for number in range(200)), {}),
    ],
    ids=ascii,
)
def test_an_odd_part_of_a_nostrconnect_uri_is_left_out_and_noted(odd, expected):
    uri = NostrConnectUri.parse("  " + connect(f"relay={RELAY}&secret=a{odd}"))
    assert (uri.relays, uri.secret) == (("wss://relay.example.com",), "a")
    assert {part: getattr(uri, part) for part in expected if part != "left_out"} == {
        part: said for part, said in expected.items() if part != "left_out"
    }
    assert list(uri.left_out) == expected.get("left_out", [])


def test_relays_beyond_the_bound_are_left_out():
    uri = NostrConnectUri.parse(
        connect("secret=a&" + "&".join(f"relay=wss%3A%2F%2Fr{n}.example" for n in range(MAX_RELAYS + 1)))
    )
    assert len(uri.relays) == MAX_RELAYS
    assert [part for part, _ in uri.left_out] == ["relay"]
    many = NostrConnectUri.parse(connect("secret=a&" + "&".join(f"relay=wss%3A%2F%2Fr{n}.example" for n in range(500))))
    assert len(many.left_out) < 100


@pytest.mark.compliance(spec="NIP-46", section="nostrconnect://", requirement="relay, secret, perms, name, url, image")
def test_a_nostrconnect_uri_parses():
    uri = NostrConnectUri.parse(
        connect(
            f"relay={RELAY}&relay=wss%3A%2F%2FRELAY.example.com%2F&relay=wss%3A%2F%2Ftwo.example&secret=0s8j2djs"
            "&perms=nip44_encrypt%2Csign_event%3A13&name=My+Client&url=https%3A%2F%2Fa.example%2F&image=https%3A%2F%2Fa.example%2Fi.png&other=1"
        )
    )
    assert uri.client_public_key == KEY
    assert uri.relays == ("wss://relay.example.com", "wss://two.example")
    assert uri.secret == "0s8j2djs"
    assert uri.permissions.known == (RequestedPermission("nip44_encrypt"), RequestedPermission("sign_event", 13))
    assert uri.left_out == ()
    assert (uri.name, uri.url, uri.image) == ("My Client", "https://a.example/", "https://a.example/i.png")
    assert NostrConnectUri.parse(uri.format()) == uri


def test_the_clients_own_words_are_bounded_and_harmless():
    query = f"relay={RELAY}&secret=a&name={'n' * 500}%0d%0a&url=javascript%3Aalert(1)&image=data%3Aimage%2Fpng"
    uri = NostrConnectUri.parse(connect(query))
    assert uri.name == "n" * MAX_NAME
    assert (uri.url, uri.image) == ("", "")
    assert NostrConnectUri.parse(connect(f"relay={RELAY}&secret=a&name=a%0a%1b%E2%80%AEb")).name == "ab"


def test_a_slash_before_the_query_and_a_scheme_in_capitals_are_the_same_uri():
    plain = NostrConnectUri.parse(connect(f"relay={RELAY}&secret=a"))
    assert NostrConnectUri.parse(f"NostrConnect://{KEY}/?relay={RELAY}&secret=a") == plain


@pytest.mark.compliance(spec="NIP-46", section="bunker://", requirement="remote-signer key, relays, optional secret")
def test_a_bunker_uri_survives_the_round():
    uri = BunkerUri(KEY, ("wss://relay.example.com", "ws://127.0.0.1:8000/relay"), "s/e+c&r=e t")
    assert BunkerUri.parse(uri.format()) == uri
    assert uri.format().startswith(f"bunker://{KEY}?relay=wss%3A%2F%2Frelay.example.com&relay=")
    assert BunkerUri.parse(bunker(f"relay={RELAY}")).secret is None


def test_a_broken_bunker_uri_is_refused():
    for text in (
        bunker(""),
        bunker("secret=a"),
        bunker(f"relay={RELAY}&secret="),
        bunker(f"relay={RELAY}", key="0" * 64),
    ):
        with pytest.raises(UriError):
            BunkerUri.parse(text)
    with pytest.raises(UriError):
        BunkerUri(KEY, ("http://relay.example",), "a").format()


def test_a_uri_does_not_show_its_secret():
    for uri in (BunkerUri(KEY, (), "canary"), NostrConnectUri(KEY, (), "canary")):
        assert "canary" not in f"{uri!r} {uri} {uri.__rich_repr__()}"


@given(
    st.text(max_size=120).map(lambda tail: f"nostrconnect://{KEY}?relay={RELAY}&secret=a&{tail}") | st.text(max_size=60)
)
def test_no_text_makes_parsing_raise_anything_else(text):
    for parse in (BunkerUri.parse, NostrConnectUri.parse):
        try:
            uri = parse(text)
        except UriError:
            continue
        assert parse(uri.format()) == uri
