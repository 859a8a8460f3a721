"""``manage.py refresh_halves``: see docs/key-rotation.md."""

from __future__ import annotations

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "halves"
    help = "Renew both halves of split keys, so that old backups of them are worth nothing. One HSM operation a key."
