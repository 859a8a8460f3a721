"""Which versions of security-relevant libraries are good enough: a table, tested, as offline audits see nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True)
class VersionRange:
    """``at_least`` is inclusive, ``below`` exclusive; either may be empty. ``why`` says what breaks outside them."""

    package: str
    at_least: str
    why: str
    below: str = ""
    optional: bool = False


BOUNDS = (
    VersionRange(
        "Django", "5.2.19", "5.2 LTS with its fixes up to CVE-2026-15920 (script in a link of the admin)", below="6"
    ),
    VersionRange("djangorestframework", "3.18.3", "CVE-2026-114136 to -114138 (decompression bomb, tokens left alive)"),
    VersionRange("django-allauth", "65.19.4", "CVE-2026-97764 (rate limits evaded by letter case), CVE-2025-65430"),
    VersionRange("channels", "4.3.2", "4.x with Django 5.2"),
    VersionRange("django-q2", "1.11.1", "ORM broker with at-least-once delivery"),
    VersionRange(
        "coincurve",
        "21.0.0",
        "its bundled libsecp256k1 is called without argument checks: this one was read",
        below="22",
    ),
    VersionRange("cryptography", "50", "AES-GCM decrypt_into, current OpenSSL"),
    VersionRange("argon2-cffi", "25.1", "password hashing"),
    VersionRange("uvicorn", "0.50", "websocket size limit enforced while a message arrives"),
    VersionRange("websockets", "17", "limits on frames and handshakes of relays"),
    VersionRange("msgspec", "0.22", "strict typed parsing of frames"),
    VersionRange("django-csp", "4", "content security policy by dictionary"),
    VersionRange(
        "redis", "5", "redis-py 8 ends an idle channel-layer reader after five seconds", below="8", optional=True
    ),
    VersionRange("channels-redis", "4.3", "the channel layer of the scaled shape", optional=True),
    VersionRange("psycopg", "3.3", "the PostgreSQL driver of the scaled shape", optional=True),
)


def as_numbers(text: str) -> tuple[int, ...]:
    """``"65.19.4"`` -> ``(65, 19, 4)``; what follows the digits of a part (``4rc1``) is left out."""
    parts = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def outside(bound: VersionRange, installed: Callable[[str], str] = version) -> str | None:
    """Say how the installed version is outside ``bound``, or return None."""
    try:
        found = installed(bound.package)
    except PackageNotFoundError:
        return None if bound.optional else f"{bound.package} is not installed."
    if as_numbers(found) < as_numbers(bound.at_least):
        return f"{bound.package} {found} is older than {bound.at_least}: {bound.why}."
    if bound.below and as_numbers(found) >= as_numbers(bound.below):
        return f"{bound.package} {found} is not below {bound.below}: {bound.why}."
    return None


def problems() -> list[str]:
    """One sentence for each library outside its bounds."""
    return [text for text in map(outside, BOUNDS) if text]
