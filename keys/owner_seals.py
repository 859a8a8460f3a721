"""The seal of whose a key is: its id, tenant, owner and public key, under a key that the database has not.

Made with the key and whenever its public key is set or removed (accounts.row_seals). It is asked for where the key is
used for its owner: by workers when they read it, and by the services that connect an app, bring a key back, or rename,
replace or destroy it. Stopping a key asks for none.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from accounts.row_seals import RowSeal, keep_sealed, renew
from keys.models import PersonalKey

OWNER: Final = RowSeal("owner", ("id", "tenant_id", "user_id", "public_key"), field="owner_seal")


def is_owned(key: PersonalKey) -> bool:
    """Whether a process of ours gave the key to the owner that its row names."""
    return OWNER.fits(key)


def is_owned_row(seal: str, key_id: UUID, tenant_id: UUID, user_id: UUID, public_key: str | None) -> bool:
    """The same of a row's columns."""
    return OWNER.fits_values(seal, key_id, tenant_id, user_id, public_key)


def renew_owners() -> tuple[int, list[str]]:
    """Seal anew, under the present field key, what an earlier one sealed: how many, and which keys do not fit."""
    return renew(PersonalKey, OWNER)


def connect() -> None:
    """Start sealing; called once, when the app is ready."""
    keep_sealed(PersonalKey, OWNER)
