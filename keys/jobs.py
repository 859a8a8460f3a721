"""Background jobs of custody, by dotted path for django-q2. Synchronous, safe to run twice, no arguments but ids."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from keys import services
from keys.exporting import services as exporting
from keys.hsm.inventory import services as inventory
from keys.rotation import jobs as rotation_jobs
from keys.rotation import runner, selectors
from keys.split import comparison, maintenance, reading
from keys.split.conversion import steps as conversion

#: What is to run, and how often, in minutes: (name, dotted path, minutes). Schedules are registered from here alone.
SCHEDULES: Final[tuple[tuple[str, str, int], ...]] = (
    ("destroy due keys", "keys.jobs.destroy_due_keys", 15),
    ("finish pending keys", "keys.jobs.finish_pending_keys", 1),
    ("go on with conversions", "keys.jobs.advance_conversions", 1),
    ("keep up with the co-signer", "keys.jobs.keep_up_with_cosigner", 5),
    ("compare the co-signer's record", "keys.jobs.compare_with_cosigner", 5),
    ("end exports that rest on nothing", "keys.jobs.settle_exports", 5),
    ("bring rotations on", "keys.jobs.nudge_rotations", 1),
    ("compare HSMs with the database", "keys.jobs.take_inventories", 24 * 60),
    ("go on with inventories", "keys.jobs.go_on_with_inventories", 1),
)

SINGLE: Final[tuple[str, ...]] = (
    "keys.jobs.finish_pending_key",
    "keys.jobs.advance_conversion",
    "keys.jobs.tell_cosigner",
    "keys.jobs.end_reading",
    "keys.jobs.step_rotation",
    "keys.jobs.step_inventory",
)
"""Jobs for one key, rotation or inventory, by its id."""

ROTATION_SECONDS: Final = 20.0
"""How long one job works on rotations: the cluster has other things to do, too."""


def destroy_due_keys() -> int:
    """Destroy every key whose day has come; returns how many."""
    return services.destroy_due_keys()


def finish_pending_keys() -> int:
    """Bring every key that waits for its HSM one step on, and clean up after ended ones; returns how many changed."""
    return services.finish_pending_keys()


def finish_pending_key(key_id: str) -> bool:
    """Finish one key soon after it was asked for; whether it is no longer pending."""
    return services.finish_pending_key(UUID(key_id))


def advance_conversions() -> int:
    """Bring every key that is being moved to another key mode one step on; returns how many ended."""
    return conversion.advance_all()


def advance_conversion(key_id: str) -> bool:
    """Bring one on soon after it was asked for; whether it has ended."""
    return conversion.advance_with_waits(UUID(key_id))


def tell_cosigner(key_id: str) -> bool:
    """Bring the co-signer's state of a split key in line with ours; whether that took a change."""
    return maintenance.sync_state(UUID(key_id))


def end_reading(key_id: str, client: str) -> bool:
    """End an app's reading grant at the co-signer (``client``: its public key); whether the key is split."""
    return reading.tell(UUID(key_id), client)


def keep_up_with_cosigner() -> int:
    """Repeat what the co-signer has not heard, go on with broken-off refreshes, end finished ones; returns how many."""
    return maintenance.resume_all()


def compare_with_cosigner() -> int:
    """Compare the co-signer's record of signatures with the audit log; returns how many differ."""
    return comparison.compare()


def settle_exports() -> int:
    """End requests for exports that ran out, or whose key, owner or tenant no longer allows one; returns how many."""
    return exporting.settle_all()


def nudge_rotations() -> int:
    """Bring every unfinished rotation on, oldest first; returns how many ended."""
    return runner.step_all(list(selectors.unfinished().values_list("pk", flat=True)), seconds=ROTATION_SECONDS)


def step_rotation(rotation_id: str) -> bool:
    """Bring one rotation on, and ask to be called again if there is more to do; whether it has ended."""
    before = runner.run_for(UUID(rotation_id), seconds=ROTATION_SECONDS)
    goes_on = before.state in selectors.UNFINISHED
    if goes_on and before.not_before is None and not before.owner:
        rotation_jobs.enqueue(before.id)
    return not goes_on


def take_inventories() -> int:
    """Begin to compare every HSM with the database; returns how many HSMs there are."""
    return inventory.start_all()


def go_on_with_inventories() -> int:
    """Bring inventories on, and end orphans that two persons gave up; returns how many."""
    return inventory.advance_all()


def step_inventory(inventory_id: str) -> bool:
    """Bring one inventory on soon after it was asked for; whether it has ended."""
    return inventory.is_over(inventory.step(UUID(inventory_id)))
