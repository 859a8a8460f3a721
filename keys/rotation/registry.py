"""The kinds of rotation of this deployment, by name."""

from __future__ import annotations

from keys.rotation.errors import UnknownRotation
from keys.rotation.protocol import RotationKind

_kinds: dict[str, RotationKind] = {}


def register(kind: RotationKind) -> None:
    """Make a kind known; called once, when the app is ready. The same slug again replaces it."""
    _kinds[kind.slug] = kind


def kind_of(slug: str) -> RotationKind:
    """The kind of this name. Raises UnknownRotation."""
    try:
        return _kinds[slug]
    except KeyError:
        raise UnknownRotation from None


def kinds() -> list[RotationKind]:
    """All of them, by title."""
    return sorted(_kinds.values(), key=lambda kind: kind.title)
