"""What can be rotated: one module for each kind."""

from __future__ import annotations

from keys.rotation import registry
from keys.rotation.kinds.halves import HalfRefreshRotation
from keys.rotation.kinds.hsm import HsmKeyRotation
from keys.rotation.kinds.identity import IdentityRotation
from keys.rotation.kinds.sealed import KekRotation, RewrapRotation
from keys.rotation.kinds.transport import TransportKeyRotation


def register() -> None:
    """Make the kinds of this package known; called once, when the app is ready."""
    for kind in (
        KekRotation(),
        RewrapRotation(),
        HalfRefreshRotation(),
        HsmKeyRotation(),
        TransportKeyRotation(),
        IdentityRotation(),
    ):
        registry.register(kind)
