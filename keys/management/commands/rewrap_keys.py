"""``manage.py rewrap_keys``: see docs/key-rotation.md."""

from __future__ import annotations

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "rewrap"
    help = "Seal every secret under the key-encryption key that is current now, whoever keeps it; nothing else changes."
