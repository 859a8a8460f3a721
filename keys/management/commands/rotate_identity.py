"""``manage.py rotate_identity``: see docs/key-rotation.md."""

from __future__ import annotations

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "identity"
    help = "Replace a key by a new one of the same person; the old one stays readable. No app moves, and no follower."
