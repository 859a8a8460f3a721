"""Relay URLs, ``bunker://`` and ``nostrconnect://`` URIs (NIP-46): syntax only, no look-up, no connection.

Whether a relay may be connected to is decided elsewhere, on its resolved address; here a text either has the one
normal form that two readers understand alike, or is refused.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Self
from urllib.parse import parse_qsl, quote, urlencode

from keycast.crypto.schnorr import is_public_key
from keycast.nostr.errors import NostrError
from keycast.nostr.nip46 import PermissionsError, RequestedPermission, format_permissions, parse_permissions
from keycast.nostr.strict import RedactedStruct
from keycast.nostr.types import is_hex

MAX_URI: Final = 8192
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


class NostrConnectUri(RedactedStruct, frozen=True):
    """``nostrconnect://<client key>?relay=...&secret=...``: what a client shows to be approved (NIP-46).

    ``name``, ``url`` and ``image`` are the client's own words, for display only. ``secret`` is kept out of ``repr``.
    """

    client_public_key: str
    relays: tuple[str, ...]
    secret: str
    permissions: tuple[RequestedPermission, ...] = ()
    name: str = ""
    url: str = ""
    image: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """One key, one to MAX_RELAYS relays, one secret; other fields unknown to us are ignored.

        A name too long is cut, a link that is not http(s) dropped. Raises UriError, and nothing else.
        """
        public_key, fields = _split("nostrconnect", text)
        return cls(
            public_key,
            _relays(fields),
            _secret(fields, required=True) or "",
            _permissions(fields),
            _name(fields),
            _link(fields, "url"),
            _link(fields, "image"),
        )

    def format(self) -> str:
        """The URI, as a client would write it."""
        fields = [("relay", normalize_relay_url(url)) for url in self.relays] + [("secret", self.secret)]
        if self.permissions:
            fields.append(("perms", format_permissions(self.permissions)))
        fields += [(key, text) for key in ("name", "url", "image") if (text := getattr(self, key))]
        return f"nostrconnect://{self.client_public_key}?{urlencode(fields, quote_via=quote, safe='')}"


_Fields = dict[str, list[str]]


def _split(scheme: str, text: str) -> tuple[str, _Fields]:
    """The public key and the decoded query fields of ``scheme://<64 hex>[/]?<query>``."""
    if not isinstance(text, str) or len(text) > MAX_URI:
        raise UriError("too-long")
    head, mark, query = text.partition("?")
    found, separator, authority = head.partition("://")
    public_key = authority.removesuffix("/")
    if found.lower() != scheme or not separator or not mark or "#" in query:
        raise UriError("malformed")
    if not is_hex(public_key, 32) or not is_public_key(bytes.fromhex(public_key)):
        raise UriError("public-key")
    return public_key, _decoded(query)


def _decoded(query: str) -> _Fields:
    if not query.isascii() or not query.isprintable() or " " in query or _BAD_ESCAPE.search(query):
        raise UriError("malformed")
    fields: _Fields = {}
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"):
            fields.setdefault(name, []).append(value)
    except ValueError:
        raise UriError("malformed") from None
    return fields


def _single(fields: _Fields, name: str) -> str | None:
    values = fields.get(name, [])
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


def _secret(fields: _Fields, *, required: bool) -> str | None:
    secret = _single(fields, "secret")
    if secret is None and not required:
        return None
    if not secret:
        raise UriError("secret-missing")
    if len(secret) > MAX_SECRET or not secret.isprintable():
        raise UriError("secret-malformed")
    return secret


def _permissions(fields: _Fields) -> tuple[RequestedPermission, ...]:
    try:
        return parse_permissions(_single(fields, "perms") or "")
    except PermissionsError:
        raise UriError("perms") from None


def _name(fields: _Fields) -> str:
    name = (_single(fields, "name") or "").strip()
    return "".join(character for character in name[:MAX_NAME] if character.isprintable())


def _link(fields: _Fields, name: str) -> str:
    link = _single(fields, name) or ""
    return link if len(link) <= MAX_LINK and _LINK.fullmatch(link) else ""
