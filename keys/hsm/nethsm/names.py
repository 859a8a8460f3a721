"""Names in the device, made from ids of rows, and taken apart strictly. Letters and digits alone: old firmware, too."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

_KEY: Final = re.compile(r"(t[0-9a-f]{32})~(k[0-9a-f]{32})")


def namespace_of(tenant_id: UUID) -> str:
    """The namespace of a tenant."""
    return f"t{tenant_id.hex}"


def key_name(tenant_id: UUID, key_id: UUID) -> str:
    """What Keycast calls a key in the device: ``namespace~id``. The device knows the id alone."""
    return f"{namespace_of(tenant_id)}~k{key_id.hex}"


def split(name: str) -> tuple[str, str]:
    """Namespace and key id of a key's name. Raises ValueError."""
    found = _KEY.fullmatch(name)
    if not found:
        raise ValueError("not the name of a key in a NetHSM")
    return found[1], found[2]
