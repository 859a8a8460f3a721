"""A row and what the HSM holds of it: where the two say different things. Pure: no I/O, no decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from keys.hsm import providers
from keys.hsm.inventory.listing import HsmKey, HsmKeyVersion, HsmKeyVersionState
from keys.models import KeyState, PersonalKey

MAKING_LONG: Final = timedelta(minutes=30)
CLEANING_LONG: Final = timedelta(hours=1)


class Discrepancy(StrEnum):
    """What can be found. Those of the first group want somebody to look; the others are told and no more."""

    ORPHAN = "orphan"
    MISSING = "missing"
    DISABLED = "disabled"
    ENDING = "ending"
    WRONG_KIND = "wrong-kind"
    WRONG_PUBLIC_KEY = "wrong-public-key"
    BROKEN = "broken"
    SPARE_VERSION = "spare-version"
    MAKING_LONG = "making-long"
    LEFT_OVER = "left-over"
    UNSEEN = "unseen"

    RETIRED = "retired"
    STILL_ENABLED = "still-enabled"


TITLES: Final[dict[Discrepancy, str]] = {
    Discrepancy.ORPHAN: "In the HSM, in no row",
    Discrepancy.MISSING: "In a row, not in the HSM",
    Discrepancy.DISABLED: "Disabled in the HSM, in use here",
    Discrepancy.ENDING: "Being destroyed in the HSM, kept here",
    Discrepancy.WRONG_KIND: "Of another algorithm or protection level",
    Discrepancy.WRONG_PUBLIC_KEY: "Another public key than the row has",
    Discrepancy.BROKEN: "Never finished in the HSM, in use here",
    Discrepancy.SPARE_VERSION: "A usable version that no row names",
    Discrepancy.MAKING_LONG: "Being created for long",
    Discrepancy.LEFT_OVER: "Ended here, not yet in the HSM",
    Discrepancy.UNSEEN: "Could not be looked into",
    Discrepancy.RETIRED: "In the HSM, in no row, and disabled",
    Discrepancy.STILL_ENABLED: "Stopped here, still enabled in the HSM",
}
ADVICE: Final[dict[Discrepancy, str]] = {
    Discrepancy.ORPHAN: (
        "Another deployment's, or of a restored database? Else have it destroyed, or leave it with a reason."
    ),
    Discrepancy.MISSING: (
        "Nothing is signed with it. The HSM's own log says who destroyed it, or took the permission away."
    ),
    Discrepancy.DISABLED: (
        "Somebody disabled it outside Keycast. Enable the version in the HSM, or disable the key here."
    ),
    Discrepancy.ENDING: (
        "Restore the version in the HSM before it is destroyed, or schedule the key's destruction here."
    ),
    Discrepancy.WRONG_KIND: "Keycast made no such key. Lock it, and find out who did.",
    Discrepancy.WRONG_PUBLIC_KEY: (
        "What the HSM signs is refused. Lock it, and find out who changed the row or the HSM."
    ),
    Discrepancy.BROKEN: "Nothing can be authorised with it. Rotate the HSM key, or have its owner make a new one.",
    Discrepancy.SPARE_VERSION: "Keycast never uses it. If no rotation is under way, destroy the version in the HSM.",
    Discrepancy.MAKING_LONG: "See the key's page for what it waits for.",
    Discrepancy.LEFT_OVER: "A job ends it; if this stays, its log says why it cannot.",
    Discrepancy.UNSEEN: "Nothing is said about what is in there.",
    Discrepancy.RETIRED: (
        "Replaced by a rotation of HSM keys, most likely. Nothing can use it, and it costs until destroyed."
    ),
    Discrepancy.STILL_ENABLED: "Keycast refuses to use it. A job disables it in the HSM as well.",
}
NEED_ATTENTION: Final = frozenset(Discrepancy) - {Discrepancy.RETIRED, Discrepancy.STILL_ENABLED}

_IN_USE: Final = frozenset({KeyState.ACTIVE, KeyState.LOCKED})
_STOPPED: Final = frozenset({KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED})
_ENDED: Final = frozenset({KeyState.FAILED, KeyState.DESTROYED})


@dataclass(frozen=True, slots=True)
class InventoryFinding:
    """One difference. ``key_id`` is the row's (32 hex digits), or empty; ``name`` the HSM's name for the key."""

    kind: Discrepancy
    name: str
    key_id: str = ""
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    row: PersonalKey, held: HsmKey | None, public_key: bytes | None, now: datetime
) -> Iterator[InventoryFinding]:
    """The differences between a row that names an HSM key and what was just seen of that key.

    ``public_key`` is that of the version in use; None when it was not asked for, or could not be told.
    """

    def found(kind: Discrepancy, detail: str = "") -> InventoryFinding:
        return InventoryFinding(kind, row.kms_key_name, row.id.hex, detail)

    if row.state == KeyState.PENDING:
        if now - row.created_at > MAKING_LONG:
            yield found(Discrepancy.MAKING_LONG, row.state_reason)
        return
    if row.state in _ENDED:
        if held and held.alive and now - row.state_changed_at > CLEANING_LONG:
            yield found(Discrepancy.LEFT_OVER, _list(held.alive))
        return
    version = _version_in_use(row, held)
    if held is None or version is None:
        yield found(Discrepancy.MISSING, "" if held is None else f"The key is there; {row.kms_key_version} is not.")
        return
    kind = _of_state(row, version)
    if kind:
        yield found(kind, version.name)
    if not version.is_right_kind:
        yield found(Discrepancy.WRONG_KIND, version.name)
    if public_key is not None and not _fits(row, public_key):
        yield found(Discrepancy.WRONG_PUBLIC_KEY, public_key.hex())
    spare = [each for each in held.alive if each.name != version.name and each.state is not HsmKeyVersionState.DISABLED]
    if spare:
        yield found(Discrepancy.SPARE_VERSION, _list(spare))


def _version_in_use(row: PersonalKey, held: HsmKey | None) -> HsmKeyVersion | None:
    wanted = row.kms_key_version or row.kms_key_name
    return next((version for version in held.versions if version.name == wanted), None) if held else None


def _of_state(row: PersonalKey, version: HsmKeyVersion) -> Discrepancy | None:
    if version.state is HsmKeyVersionState.ENDED:
        return Discrepancy.MISSING
    if version.state is HsmKeyVersionState.ENDING:
        return Discrepancy.ENDING
    if version.state in {HsmKeyVersionState.BROKEN, HsmKeyVersionState.MAKING}:
        return Discrepancy.BROKEN
    if version.state is HsmKeyVersionState.DISABLED and row.state in _IN_USE:
        return None if row.hsm_is_disabled else Discrepancy.DISABLED  # disabled by us: a job is about to enable it
    hsm = providers.hsm_of(row.hsm_provider)  # one that cannot disable a key says nothing
    is_followed = hsm is not None and hsm.can_disable() and row.state in _STOPPED
    return Discrepancy.STILL_ENABLED if is_followed and version.state is HsmKeyVersionState.USABLE else None


def _fits(row: PersonalKey, public_key: bytes) -> bool:
    """Whether this (33 bytes) is the row's authoriser, and, where the HSM signs with it, the key itself."""
    is_itself = not providers.splits(row.hsm_provider)
    return public_key.hex() == row.authoriser_public_key and (not is_itself or public_key[1:].hex() == row.public_key)


def _list(versions: list[HsmKeyVersion]) -> str:
    shown = ", ".join(version.name.rpartition("/")[2] for version in versions[:5])
    return shown + (f" and {len(versions) - 5} more" if len(versions) > 5 else "")
