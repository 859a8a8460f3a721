"""Labels of key pairs in a token (CKA_LABEL). A key has one version, which is named as it is.

Forty characters of ASCII: what the narrowest tokens take. Beside a deployment's own mark the label shows the tenant, so
that an operator at the token sees whose key it is; the rest is drawn at random.
"""

from __future__ import annotations

import re
import secrets
from typing import Final
from uuid import UUID

_LABEL: Final = re.compile(r"kc-[0-9a-f]{12}-([0-9a-f]{24})")


def new(tenant_id: UUID) -> str:
    """A label that no key has."""
    return f"kc-{tenant_id.hex[:12]}-{secrets.token_hex(12)}"


def is_ours(label: str) -> bool:
    """Whether Keycast gives labels of this kind."""
    return _LABEL.fullmatch(label) is not None


def id_of(label: str) -> bytes:
    """What joins the two halves of a key pair in the token (CKA_ID). Raises ValueError for another kind of label."""
    found = _LABEL.fullmatch(label)
    if not found:
        raise ValueError("not the label of a key of Keycast")
    return bytes.fromhex(found[1])
