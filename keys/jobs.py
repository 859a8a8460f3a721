"""Background jobs of custody, by dotted path for django-q2. Synchronous, safe to run twice, no arguments but ids."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from keys import services
from keys.cosigning import upkeep

#: What is to run, and how often, in minutes: (name, dotted path, minutes). Schedules are registered from here alone.
SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("destroy due keys", "keys.jobs.destroy_due_keys", 15),
    ("finish pending keys", "keys.jobs.finish_pending_keys", 1),
    ("keep up with the co-signer", "keys.jobs.keep_up_with_cosigner", 5),
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


def tell_cosigner(key_id: str) -> bool:
    """Bring the co-signer's state of a split key in line with ours; whether that took a change."""
    return upkeep.follow(UUID(key_id))


def keep_up_with_cosigner() -> int:
    """Repeat what the co-signer has not heard, go on with broken-off refreshes, end finished ones; returns how many."""
    return upkeep.keep_up()
