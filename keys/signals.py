"""What custody tells whoever listens, inside the transaction that changed it."""

from __future__ import annotations

from django.dispatch import Signal

#: Sent with ``key_id`` (UUID) when a personal key or its transport key was created or changed state.
key_changed = Signal()

#: Sent once for each batch of a bulk creation, with ``key_ids`` (list of UUID), in place of ``key_changed``.
keys_added = Signal()
