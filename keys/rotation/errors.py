"""What rotations refuse with."""

from __future__ import annotations

from keycast.base.errors import NotFound
from keys.errors import CustodyError


class RotationError(CustodyError):
    """Anything a rotation can refuse with."""

    code = "rotation-refused"
    public_message = "This cannot be rotated now."


class KeyRotationRunning(RotationError):
    """Another rotation of the same group is under way on a scope that overlaps."""

    code = "rotation-running"
    public_message = "A rotation of the same things is already running. Wait for it, or cancel it."


class RotationNotFound(NotFound):
    """No such rotation, or nothing of the kind to rotate."""

    code = "rotation-not-found"
    public_message = "There is no such rotation here."


class UnknownRotation(RotationError):
    """No kind of this name is registered in this deployment."""

    code = "rotation-unknown"
    public_message = "This kind of rotation does not exist here."


class WrongScope(RotationError):
    """The scope does not exist, or is not one that this kind of rotation can have."""

    code = "rotation-scope"
    public_message = "This cannot be rotated for that choice of keys."
    http_status = 400


class NothingToRotate(RotationError):
    """The scope holds nothing that this kind of rotation could change."""

    code = "nothing-to-rotate"
    public_message = "There is nothing to rotate."


class RotationLeaseLost(Exception):
    """Another process has taken this rotation over, or it was cancelled: undo, and stop."""
