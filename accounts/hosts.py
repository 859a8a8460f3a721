"""Host names as they come in requests, and as they are stored: compared exactly, never by suffix or wildcard.

What is accepted: letters, digits and inner hyphens in labels of at most 63, in any case, or an IP address; a port
is dropped. Refused with 400: an empty, missing or repeated header, several names, spaces, user info, anything that
is not ASCII (an internationalised name arrives as A-labels). Not found, 404: every name that is no verified domain,
among them a known name with a dot at its end.
"""

from __future__ import annotations

import ipaddress
import re

from keycast.base.errors import KeycastError

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HEADER = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


class BadHost(KeycastError):
    """A Host header, or a host name somebody entered, that is none."""

    code = "bad-host"
    public_message = "This is not a valid host name."


def host_name(header: str) -> str:
    """The name in a Host header, lower case and without port. Raises BadHost."""
    found = _HEADER.fullmatch(header.lower()) if header.isascii() and len(header) <= 262 else None
    if found is None or int(found["port"] or 0) > 65535:
        raise BadHost
    return found["name"]


def domain_name(entered: str) -> str:
    """A host name as it is stored: lower case, A-labels, no port, no dot at the end. Raises BadHost.

    ``entered`` may be in capitals or internationalised; an IPv6 address stands in brackets.
    """
    name = entered.strip().lower().removesuffix(".")
    if not name.isascii():
        name = _a_labels(name)
    if len(name) > 253 or not (_NAME.fullmatch(name) or _is_ipv6(name)):
        raise BadHost(f"{entered.strip()[:80]!r} is not a valid host name.")
    return name


def _a_labels(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadHost from None


def _is_ipv6(name: str) -> bool:
    try:
        return name[:1] == "[" and name[-1:] == "]" and bool(ipaddress.IPv6Address(name[1:-1]))
    except ValueError:
        return False
