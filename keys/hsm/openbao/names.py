"""Names of keys in the transit engine. A key has one version of use to Keycast, its first, named as the key is."""

from __future__ import annotations

import re
import secrets
from typing import Final
from uuid import UUID

from keys.hsm_errors import HsmMisconfigured

_NAME: Final = re.compile(r"kc-[0-9a-f]{12}-[0-9a-f]{24}")


def new(tenant_id: UUID) -> str:
    """A name that no key has; it shows the tenant to whoever looks there."""
    return f"kc-{tenant_id.hex[:12]}-{secrets.token_hex(12)}"


def is_ours(name: str) -> bool:
    """Whether Keycast gives names of this kind."""
    return _NAME.fullmatch(name) is not None


def ours(name: str) -> str:
    """The name, if it is one of ours: nothing else is ever made, changed or destroyed. Raises HsmMisconfigured."""
    if not is_ours(name):
        raise HsmMisconfigured("This is not the name of a key in the HSM.")
    return name
