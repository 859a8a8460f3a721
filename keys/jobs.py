"""Background jobs of custody, by dotted path for django-q2. Synchronous, safe to run twice, no arguments but ids."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from keys import services

#: What is to run, and how often, in minutes: (name, dotted path, minutes). Schedules are registered from here alone.
SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("destroy due keys", "keys.jobs.destroy_due_keys", 15),
    ("finish pending keys", "keys.jobs.finish_pending_keys", 1),
)


def destroy_due_keys() -> int:
    """Destroy every key whose day has come; returns how many."""
    return services.destroy_due_keys()


def finish_pending_keys() -> int:
    """Bring every key that waits for its HSM one step on, and clean up after ended ones; returns how many changed."""
    return services.finish_pending_keys()


def finish_pending_key(key_id: str) -> bool:
    """Finish one key soon after it was asked for; whether it is no longer pending."""
    return services.finish_pending_key(UUID(key_id))
