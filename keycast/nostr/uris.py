"""Relay URLs, ``bunker://`` and ``nostrconnect://`` URIs (NIP-46): syntax only, no look-up, no connection.

Whether a relay may be connected to is decided elsewhere, on its resolved address; here a text either has the one
normal form that two readers understand alike, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qsl, quote, urlencode

from keycast.crypto.schnorr import is_public_key
from keycast.nostr.errors import NostrError
from keycast.nostr.nip46 import RequestedPermissions, parse_permissions
from keycast.nostr.strict import RedactedStruct
from keycast.nostr.types import is_hex

MAX_URI: Final = 8192
MAX_CLIENT_URI: Final = 65_536
"""Of a ``nostrconnect://`` URI: some apps put their whole picture into it, which is left out."""
MAX_RELAY_URL: Final = 512
MAX_RELAYS: Final = 10
MAX_SECRET: Final = 256
MAX_NAME: Final = 128
MAX_LINK: Final = 2048
_MAX_FIELDS: Final = 64

_RELAY: Final = re.compile(
    r"(?P<scheme>wss?)://(?P<host>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
)
_AUTHORITY: Final = re.compile(r"[A-Za-z]+://[^/?#]*")
_LABEL: Final = re.compile(r"(?!-)[0-9a-z_-]{1,63}(?<!-)")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LINK: Final = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_LINE_BREAKS: Final = re.compile(r"[\r\n\t]+")
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}


class UriError(NostrError):
    """A URI or URL that is refused; ``code`` is a slug such as ``secret-missing``. Repeats none of the input."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(f"invalid URI: {code}")


def normalize_relay_url(url: str) -> str:
    """The normal form of a relay URL: lower-case scheme and host, no default port, no lone ``/``.

    Accepts ``wss`` and ``ws``, a DNS name (A-labels), a dotted IPv4 or a bracketed IPv6 address, a path and a query.
    Refuses user information, fragments, backslashes, control characters, anything not ASCII, trailing dots, port 0
    and every other spelling of a number as a host (``127.1``, ``0x7f000001``). Raises UriError("relay-url").
    """
    if not isinstance(url, str) or len(url) > MAX_RELAY_URL or not url.isascii():
        raise UriError("relay-url")
    match = _RELAY.fullmatch(_AUTHORITY.sub(lambda found: found[0].lower(), url, count=1))
    if match is None or _BAD_ESCAPE.search(url):
        raise UriError("relay-url")
    port = _port(match["port"], match["scheme"])
    path = match["path"] or ""
    return f"{match['scheme']}://{_host(match['host'])}{port}{'' if path == '/' else path}{match['query'] or ''}"


def _host(host: str) -> str:
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        labels = host.split(".")
        if _NUMERIC_LABEL.fullmatch(labels[-1]):  # a number at the end means an address (WHATWG URL, 3.5)
            return str(IPv4Address(host))
    except AddressValueError:
        raise UriError("relay-url") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UriError("relay-url")
    return host


def _port(port: str | None, scheme: str) -> str:
    if port is None:
        return ""
    number = int(port)
    if not 1 <= number <= 65_535:
        raise UriError("relay-url")
    return "" if number == _DEFAULT_PORTS[scheme] else f":{number}"


class BunkerUri(RedactedStruct, frozen=True):
    """``bunker://<remote-signer key>?relay=...&secret=...``: what a signer hands to a client (NIP-46).

    ``secret`` is a one-time secret: it is kept out of ``repr``.
    """

    signer_public_key: str
    relays: tuple[str, ...]
    secret: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UriError, and nothing else."""
        public_key, fields = _split("bunker", text)
        return cls(public_key, _relays(fields), _secret(fields, required=False))

    def format(self) -> str:
        """The URI. Raises UriError when a relay is not one."""
        fields = [("relay", normalize_relay_url(url)) for url in self.relays]
        if self.secret is not None:
            fields.append(("secret", self.secret))
        return f"bunker://{self.signer_public_key}?{urlencode(fields, quote_via=quote, safe='')}"


class LeftOut(NamedTuple):
    """A part of a client's URI that could not be used: its name (``relay``, ``perms``, ``url``) and text, shortened."""

    part: str
    text: str


class NostrConnectUri(RedactedStruct, frozen=True):
    """``nostrconnect://<client key>?relay=...&secret=...``: what a client shows to be approved (NIP-46).

    ``name``, ``url`` and ``image`` are the client's own words, for display only. ``secret`` is kept out of ``repr``.
    ``left_out`` is what else it said, for whoever approves it.
    """

    client_public_key: str
    relays: tuple[str, ...]
    secret: str
    permissions: RequestedPermissions = RequestedPermissions()
    name: str = ""
    url: str = ""
    image: str = ""
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """One key, at least one usable relay, one secret. Whatever else is odd is left out, not a reason to fail.

        Line breaks (of a copied QR code's text) are taken out, raw spaces and other characters kept, a name too long is
        cut. Raises UriError, and nothing else.
        """
        public_key, fields = _split("nostrconnect", text, is_lenient=True)
        relays, bad_relays = _usable_relays(fields)
        permissions = parse_permissions(",".join(fields.get("perms", [])))
        links = {part: (fields.get(part) or [""])[0] for part in ("url", "image")}
        left_out = [
            *(LeftOut("relay", url) for url in bad_relays),
            *(LeftOut("perms", entry) for entry in permissions.unknown),
            *(LeftOut(part, link) for part, link in links.items() if link and not web_link(link)),
        ]
        return cls(
            public_key,
            relays,
            _secret(fields, required=True) or "",
            permissions,
            _name(fields),
            web_link(links["url"]),
            web_link(links["image"]),
            tuple(LeftOut(part, _shown(said)) for part, said in left_out[:_MAX_FIELDS]),
        )

    def format(self) -> str:
        """The URI, as a client would write it."""
        fields = [("relay", normalize_relay_url(url)) for url in self.relays] + [("secret", self.secret)]
        if permissions := str(self.permissions):
            fields.append(("perms", permissions))
        fields += [(key, text) for key in ("name", "url", "image") if (text := getattr(self, key))]
        return f"nostrconnect://{self.client_public_key}?{urlencode(fields, quote_via=quote, safe='')}"


_Fields = dict[str, list[str]]


def _split(scheme: str, text: str, *, is_lenient: bool = False) -> tuple[str, _Fields]:
    """The public key and the decoded query fields of ``scheme://<64 hex>[/]?<query>``."""
    if not isinstance(text, str) or len(text) > (MAX_CLIENT_URI if is_lenient else MAX_URI):
        raise UriError("too-long")
    if is_lenient:
        text = _LINE_BREAKS.sub("", text.strip())
    head, mark, query = text.partition("?")
    found, separator, authority = head.partition("://")
    public_key = authority.removesuffix("/")
    if found.lower() != scheme or not separator or not mark or ("#" in query and not is_lenient):
        raise UriError("malformed")
    if not is_hex(public_key, 32) or not is_public_key(bytes.fromhex(public_key)):
        raise UriError("public-key")
    return public_key, _decoded_leniently(query) if is_lenient else _decoded(query)


def _decoded(query: str) -> _Fields:
    if not query.isascii() or not query.isprintable() or " " in query or _BAD_ESCAPE.search(query):
        raise UriError("malformed")
    try:
        return _grouped(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
    except ValueError:
        raise UriError("malformed") from None


def _decoded_leniently(query: str) -> _Fields:
    """As ``_decoded``, but any character may be there unescaped, as in a name that nobody encoded."""
    if any("#" in part for part in query.split("&") if part.startswith("secret=")):
        raise UriError("secret-malformed")  # it may end there or not: two readers would read two secrets
    return _grouped(parse_qsl(query, keep_blank_values=True, errors="replace"))


def _grouped(pairs: Iterable[tuple[str, str]]) -> _Fields:
    fields: _Fields = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _single(fields: _Fields, name: str) -> str | None:
    values = list(dict.fromkeys(fields.get(name, [])))
    if len(values) > 1:
        raise UriError(f"{name}-twice")
    return values[0] if values else None


def _relays(fields: _Fields) -> tuple[str, ...]:
    relays = tuple(dict.fromkeys(normalize_relay_url(url) for url in fields.get("relay", [])))
    if not relays:
        raise UriError("relay-missing")
    if len(relays) > MAX_RELAYS:
        raise UriError("too-many-relays")
    return relays


def _usable_relays(fields: _Fields) -> tuple[tuple[str, ...], list[str]]:
    """The first MAX_RELAYS relays that are ones, and what else was named; no usable one is an error."""
    usable: dict[str, None] = {}
    others: list[str] = []
    for given in fields.get("relay", []):
        try:
            url = normalize_relay_url(given.strip())
        except UriError:
            others.append(given)
            continue
        if url in usable or len(usable) < MAX_RELAYS:
            usable[url] = None
        else:
            others.append(given)
    if not usable:
        raise UriError("relay-url" if others else "relay-missing")
    return tuple(usable), others


def _secret(fields: _Fields, *, required: bool) -> str | None:
    secret = _single(fields, "secret")
    if secret is None and not required:
        return None
    if not secret:
        raise UriError("secret-missing")
    if len(secret) > MAX_SECRET or not secret.isprintable() or "\ufffd" in secret:
        raise UriError("secret-malformed")
    return secret


def _name(fields: _Fields) -> str:
    return _shown((fields.get("name") or [""])[0].strip())


def _shown(text: str) -> str:
    return "".join(character for character in text[:MAX_NAME] if character.isprintable())


def web_link(link: str) -> str:
    """``link`` if it is an http or https address of bearable length, else an empty text."""
    return link if len(link) <= MAX_LINK and _LINK.fullmatch(link) else ""
