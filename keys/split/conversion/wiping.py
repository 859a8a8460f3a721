"""Overwrites what a conversion that is not to go on holds of a key."""

from __future__ import annotations

from keys.lifecycle.erasure import overwritten
from keys.models.hsm import Conversion, ConversionStep


def wipe(going: Conversion, reason: str = "") -> None:
    """Both halves are gone, and jobs clean up elsewhere. Inside the caller's transaction, with its row locked."""
    for field in ("half_a", "half_b"):
        overwritten(going, field)
    going.step, going.problem = ConversionStep.CANCELLED, reason[:200]
    going.half_a = going.half_b = None
    going.half_a_kek_version = going.half_b_kek_version = ""
    going.save()
