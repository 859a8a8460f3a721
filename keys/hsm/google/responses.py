"""What an answer of Cloud KMS must show before it is used: checksums both ways, and that it is about the key asked for.

Source: Cloud KMS, "Data integrity guidelines".
"""

from __future__ import annotations

from typing import Any

import google_crc32c

from keys.hsm_errors import HsmAnswerRefused


def checksum(data: bytes) -> int:
    """CRC32C, as every field ``…_crc32c`` carries it."""
    return int(google_crc32c.value(data))


def must(condition: bool, reason: str) -> None:
    """Raise HsmAnswerRefused unless ``condition``; the reason is for the log alone."""
    if not condition:
        raise HsmAnswerRefused from ValueError(reason)


def payload(response: Any, field: str) -> bytes:
    """The bytes of ``field``, if the response's checksum fits them. Raises HsmAnswerRefused."""
    value = getattr(response, field)
    data = value.encode() if isinstance(value, str) else bytes(value)
    must(bool(data) and f"{field}_crc32c" in response, f"no {field}, or no checksum")
    must(getattr(response, f"{field}_crc32c") == checksum(data), f"wrong checksum of {field}")
    return data


def about(response: Any, name: str) -> None:
    """Raise HsmAnswerRefused unless the response names the key version ``name``."""
    must(response.name == name, "answer about another key")
