"""Names for the strings and bytes of the protocol, so that one is not taken for another."""

from __future__ import annotations

from typing import Final, NewType

PublicKeyHex = NewType("PublicKeyHex", str)
"""An x-only public key: 64 lower-case hex digits (NIP-01)."""
EventId = NewType("EventId", str)
"""An event id: 64 lower-case hex digits (NIP-01)."""
RelayUrl = NewType("RelayUrl", str)
"""A relay URL as ``uris.normalize_relay_url`` returns it."""
Kind = NewType("Kind", int)
"""An event kind, 0 to 65535 (NIP-01)."""

MAX_KIND: Final = 65_535
MAX_TIMESTAMP: Final = 2**53 - 1
"""The largest integer that every JSON implementation keeps exactly (RFC 8259, 6)."""


def is_hex(text: str, size: int) -> bool:
    """Whether ``text`` is exactly ``size`` bytes in lower-case hex: no capitals, spaces or other digits."""
    if len(text) != 2 * size:
        return False
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False
