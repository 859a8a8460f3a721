"""Who stopped something: one order for persons, tenants, keys and apps."""

from __future__ import annotations

from typing import Final

from django.db import models


class LockAuthority(models.TextChoices):
    """On whose authority a lock or state stands; the same or a higher one lifts it."""

    OWNER = "owner", "The person themselves"
    TENANT = "tenant", "The tenant's administrators"
    STAFF = "staff", "Platform staff"
    SYSTEM = "system", "The server's operators"


RANK: Final[dict[str, int]] = {
    "": 0,
    LockAuthority.OWNER: 0,
    LockAuthority.TENANT: 1,
    LockAuthority.STAFF: 2,
    LockAuthority.SYSTEM: 3,
}
"""Which authority is above which; empty where nothing is locked."""

BY_WHOM: Final[dict[str, str]] = {
    LockAuthority.OWNER: "its owner",
    LockAuthority.TENANT: "an administrator",
    LockAuthority.STAFF: "the platform's staff",
    LockAuthority.SYSTEM: "the server's operators",
}
"""Who can lift it, as a refusal says."""
