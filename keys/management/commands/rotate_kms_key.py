"""``manage.py rotate_kms_key``: see docs/key-rotation.md."""

from __future__ import annotations

from keys.rotation.base_command import RotationCommand


class Command(RotationCommand):
    kind = "kms-key"
    help = "Have another key in Cloud KMS authorise for split keys; public keys stay. The old one is disabled."
