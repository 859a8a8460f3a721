"""What health has to say of HSMs and the database: whether they were found to agree, and lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keycast.base.findings import HealthFinding, Severity
from keys.hsm.inventory import services
from keys.models import HsmInventory, InventoryState, Provider

_PAGE: Final = "admin:keys_hsminventory_changelist"
_FIX: Final = "See the newest inventory for what each finding calls for; manage.py hsm_inventory takes a new one."


def inventories() -> HealthFinding | None:
    """Every HSM that is set up was compared with the database lately, and they agree. Asks no HSM."""
    if not services.providers():
        return None
    problems = [problem for provider in services.providers() for problem in _problems(provider)]
    if not problems:
        is_known = all(any(map(_is_done, services.latest(provider))) for provider in services.providers())
        detail = "HSMs and database were found to agree." if is_known else "Not compared yet; a job does it every day."
        return HealthFinding("HSM inventory", True, detail, link=_PAGE)
    return HealthFinding("HSM inventory", False, " ".join(problems), _FIX, Severity.WARNING, _PAGE)


def _is_done(taken: HsmInventory) -> bool:
    return bool(taken.state == InventoryState.DONE)


def _problems(provider: str) -> Iterator[str]:
    """The first result comes within a day of setting an HSM up; until then there is nothing to tell."""
    label = Provider(provider).label
    for taken in services.latest(provider):
        if taken.state == InventoryState.FAILED:
            yield f"{label} could not be compared with the database: {taken.problem}"
        elif _is_done(taken) and (count := services.attention_count(taken)):
            yield f"{label}: {count} differences to be looked at."
        elif _is_done(taken) and services.is_old(taken):
            yield f"{label} was last compared with the database {taken.started_at:%Y-%m-%d}."
