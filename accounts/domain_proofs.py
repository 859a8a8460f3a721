"""Proof that somebody has a host name: a TXT record that only they can put into its DNS.

The record stands at ``_keycast.<host>`` and reads ``keycast-verification=<token>``. Only this server's own resolvers
are asked, and nothing is ever fetched from the host itself (docs/decisions/0096-domains-are-proved-by-dns.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import dns.exception
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from keycast.base.errors import KeycastError

PREFIX: Final = "keycast-verification="
SECONDS: Final = 5.0
MOST_RECORDS: Final = 50
NOT_ASKED: Final = "The DNS could not be asked. Please try again in a few minutes."

Texts = Callable[[str], list[str]]
"""The TXT records at a name; empty when there is none. Raises Unanswered."""


class DnsUnanswered(KeycastError):
    """No resolver gave an answer, so nobody knows."""

    code = "dns-unanswered"
    public_message = NOT_ASKED
    http_status = 503


def record_name(host: str) -> str:
    return f"_keycast.{host}"


def record_value(token: str) -> str:
    return PREFIX + token


def dns_texts(name: str) -> list[str]:
    """Ask the system's resolvers, for SECONDS at most."""
    try:
        answer = dns.resolver.resolve(name, dns.rdatatype.TXT, lifetime=SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError):
        raise DnsUnanswered from None
    records = [record for record in answer if isinstance(record, TXT)][:MOST_RECORDS]
    return [b"".join(record.strings).decode("ascii", "replace") for record in records]


def problem_with(host: str, token: str, texts: Texts | None = None) -> str:
    """Why the proof does not hold, in words; empty when it does. Takes up to SECONDS. Raises Unanswered."""
    found = (texts or query_txt)(record_name(host))
    ours = [text for text in found if text.strip().startswith(PREFIX)]
    if any(hmac.compare_digest(text.strip().encode(), record_value(token).encode()) for text in ours):
        return ""
    if ours:
        return f"The TXT record at {record_name(host)} has another value."
    if found:
        return f"There are TXT records at {record_name(host)}, but not the one shown here."
    return f"There is no TXT record at {record_name(host)} yet. New records can take hours to be seen everywhere."


def query_txt(name: str) -> list[str]:
    """The TXT records at ``name``, as tests may have it."""
    return _texts(name)


def set_texts(texts: Texts | None) -> None:
    """Ask ``texts`` instead of the DNS; None puts the DNS back. For tests."""
    global _texts  # noqa: PLW0603
    _texts = texts or dns_texts


_texts: Texts = dns_texts
