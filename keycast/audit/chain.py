r"""The hash chain, byte by byte, so that a verifier can be written in any language from this page.

Every chain has a name of at most 32 ASCII characters: a tenant's id as 32 lower-case hex digits, or ``platform``.
Its rows are numbered 1, 2, 3 ... without gaps (``sequence``).

    genesis      = SHA-256( "keycast.audit.genesis.1" 0x00 ‖ UTF-8(chain name) )
    hash of row  = SHA-256( previous hash ‖ body )

``previous hash`` is the 32-byte hash of the row before, or the genesis of the chain for row 1; the row stores it as
``previous_hash``. ``body`` is the UTF-8 text of one JSON array of thirteen items, without any space or line break:

    ["keycast.audit.row.1", chain, sequence, at, tag, outcome, actor_type, actor_id, actor_label,
     key_id, connection_id, request_id, data]

``sequence`` and ``at`` (Unix time in microseconds) are decimal integers; all others are strings, ``data`` too: it is
hashed as the text that is stored (JSON with sorted keys and no spaces), never parsed and written again. Strings are
escaped as NIP-01 does it for event ids: ``\"`` and ``\\``, the short forms ``\b \f \n \r \t``, ``\u00xx`` (lower-case
hex) for every other character below 0x20, and nothing else: all other characters stand as themselves in UTF-8. In
Python: ``json.dumps(items, ensure_ascii=False, separators=(",", ":"))``.

The surrogate column ``id`` is not covered: ``chain`` and ``sequence`` identify a row. The head of the chain
(AuditChain) repeats the sequence and hash of its last row.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

HASH_SIZE: Final = 32
DOMAIN: Final = "keycast.audit.row.1"
_GENESIS_DOMAIN: Final = b"keycast.audit.genesis.1\x00"

Body = tuple[str, int, int, str, str, str, str, str, str, str, str, str]
_encode = msgspec.json.Encoder().encode
_sha256 = hashlib.sha256


def genesis(name: str) -> bytes:
    """The 32 bytes that stand before the first row of a chain."""
    return _sha256(_GENESIS_DOMAIN + name.encode()).digest()


def row_hash(previous_hash: bytes, body: Body) -> bytes:
    """The 32-byte hash of one row; ``body`` holds the columns in the order above, from ``chain`` to ``data``."""
    return _sha256(previous_hash + _encode((DOMAIN, *body))).digest()
