"""What an HSM can be asked about the keys that it holds. Reads alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Protocol

from keys.hsm import providers


class HsmKeyVersionState(StrEnum):
    """What can be done with a version of a key."""

    USABLE = "usable"
    DISABLED = "disabled"
    ENDING = "ending"
    ENDED = "ended"
    MAKING = "making"
    BROKEN = "broken"


#: What could be used now, or again some day.
USABLE_STATES = frozenset({HsmKeyVersionState.USABLE, HsmKeyVersionState.DISABLED, HsmKeyVersionState.MAKING})


@dataclass(frozen=True, slots=True)
class HsmKeyVersion:
    """One version of a key in an HSM. ``is_right_kind``: algorithm and protection are what Keycast makes."""

    name: str
    state: HsmKeyVersionState
    is_right_kind: bool = True


@dataclass(frozen=True, slots=True)
class HsmKey:
    """One key in an HSM. ``is_ours``: its name is of the kind that Keycast gives."""

    name: str
    is_ours: bool
    versions: tuple[HsmKeyVersion, ...] = ()

    @property
    def alive(self) -> list[HsmKeyVersion]:
        return [version for version in self.versions if version.state in USABLE_STATES]


@dataclass(frozen=True, slots=True)
class HsmKeyPage:
    """Some keys by name, and where the next page begins: empty after the last. ``total`` as far as it is known.

    ``unseen`` says in plain words what could not be looked into.
    """

    held: list[HsmKey]
    cursor: str
    total: int = 0
    unseen: list[str] = field(default_factory=list)


class HsmKeyReader(Protocol):
    """One HSM. Every method raises keys.hsm_errors, and ends within some seconds."""

    @property
    def reads_a_minute(self) -> int:
        """So many calls may be made in a minute; 0: as many as it takes."""
        ...

    @property
    def can_look(self) -> bool:
        """Whether this process may; where not, it sees public keys alone."""
        ...

    def page(self, cursor: str) -> HsmKeyPage:
        """The page that begins at ``cursor`` (empty: the first), without versions."""
        ...

    def look(self, name: str) -> HsmKey | None:
        """One key with its versions; None when there is none of that name."""
        ...

    def public_key(self, version: str) -> bytes | None:
        """The compressed point (33 bytes) of a usable version; None when it cannot be told."""
        ...


@cache
def hsm_key_readers() -> Mapping[str, HsmKeyReader]:
    """The HSMs that the settings name, by provider."""
    found = {name: hsm.stock() for name, hsm in providers.hsms()}
    return {name: stock for name, stock in found.items() if stock}
