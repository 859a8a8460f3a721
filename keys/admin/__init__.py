"""Custody in the staff admin: keys, what HSMs hold, and the staff actions for both. Never material, sealed or not."""

from __future__ import annotations

from keys.admin import inventory, personalkey, rotations
from keys.admin.filters import TenantFilter
from keys.admin.lookup import look_up

__all__ = ["TenantFilter", "inventory", "look_up", "personalkey", "rotations"]
