"""Which keys in an HSM some row names: a person's key, one that is being converted, or one that is being replaced."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from django_scopes import scopes_disabled

from keys.models import Conversion, PersonalKey, Succession

MANY: Final = 400
"""SQLite takes so many values in one query without a thought."""


def named(names: Collection[str]) -> set[str]:
    """Those of ``names`` that a row names now, whatever its state."""
    wanted, found = list(names), set[str]()
    # The HSM holds keys of every tenant.
    with scopes_disabled():
        for start in range(0, len(wanted), MANY):
            found |= _of_keys(wanted[start : start + MANY])
        found |= _under_way() & set(wanted)
    return found


def _of_keys(names: list[str]) -> set[str]:
    rows = PersonalKey.objects.filter(kms_key_name__in=names).exclude(kms_key_name="")
    return set(rows.order_by().values_list("kms_key_name", flat=True))


def _under_way() -> set[str]:
    """Of conversions and successions: there are few at any time, and each goes when it has ended."""
    found = set(Conversion.objects.order_by().values_list("kms_key_name", flat=True))
    for old, new in Succession.objects.order_by().values_list("old_version", "kms_key_name"):
        found |= {old.partition("/cryptoKeyVersions/")[0], new}
    return found
