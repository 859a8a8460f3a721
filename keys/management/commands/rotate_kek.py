"""``manage.py rotate_kek``: see docs/key-rotation.md."""

from __future__ import annotations

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "kek"
    help = "Make a new key-encryption key, and seal every secret under it; the old one stays until retire_kek."
