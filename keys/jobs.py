"""Background jobs of custody, by dotted path for django-q2. Synchronous, safe to run twice, no arguments but ids."""

from __future__ import annotations

from typing import Final

from keys import services

#: What is to run, and how often, in minutes: (name, dotted path, minutes). Schedules are registered from here alone.
SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (("destroy due keys", "keys.jobs.destroy_due_keys", 15),)


def destroy_due_keys() -> int:
    """Destroy every key whose day has come; returns how many."""
    return services.destroy_due_keys()
