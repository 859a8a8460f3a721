"""What a look at an HSM, a co-signer or a signer comes back with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HsmReport:
    """One look; ``fix`` says what to do when it is not ok."""

    name: str
    is_ok: bool
    detail: str
    fix: str = ""
