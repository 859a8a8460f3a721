"""What can be rotated: one module for each kind."""

from __future__ import annotations

from keys.rotation import registry
from keys.rotation.kinds.halves import Halves
from keys.rotation.kinds.hsm import HsmKeys
from keys.rotation.kinds.identity import Identity
from keys.rotation.kinds.sealed import KekRotation, Rewrapping
from keys.rotation.kinds.transport import TransportKeys


def register() -> None:
    """Make the kinds of this package known; called once, when the app is ready."""
    for kind in (KekRotation(), Rewrapping(), Halves(), HsmKeys(), TransportKeys(), Identity()):
        registry.register(kind)
