"""What it takes to make and end keys in an HSM; what they authorise or sign: keys.signing.protocol."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from keycast.crypto.secret import SecretBytes
from keys.signing.cosigning.messages import HsmProof
from keys.signing.sealed_halves import PageKey, SealedHalves

if TYPE_CHECKING:
    from keys.models import PersonalKey


class HsmKeyPhase(StrEnum):
    """How far the creation of an HSM key is."""

    MISSING = "missing"
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class PendingHsmKey(NamedTuple):
    """A key that was asked for: its name as the provider knows it (a full resource name), not yet of any use."""

    name: str


@dataclass(frozen=True, slots=True)
class HsmKeyStatus:
    """What ``check`` found. ``version`` (full name) and ``public_key`` when READY: 33 bytes, compressed,
    or an authoriser's on another curve (keycast.crypto.authoriser_keys).

    ``reason`` is a plain sentence when FAILED: a person can act on it.
    """

    phase: HsmKeyPhase
    version: str = ""
    public_key: bytes = b""
    reason: str = ""


class KeySplitter(Protocol):
    """Who splits keys (keys.split.halves): fills public key, half A, tweak and co-signer of an unsaved row; ends it."""

    def create(self, row: PersonalKey) -> None: ...

    def adopt(self, row: PersonalKey, secret: SecretBytes) -> None: ...

    def adopt_sealed(self, row: PersonalKey, halves: SealedHalves) -> None: ...

    def page_keys(self, tenant_id: UUID, key_id: UUID) -> tuple[PageKey, bytes]: ...

    def end(self, row: PersonalKey) -> None: ...


class HsmKeyManager(Protocol):
    """Makes and ends the HSM keys that an Authoriser uses. Blocks: for jobs and commands. Raises keys.hsm_errors."""

    def create(self, name_id: str) -> PendingHsmKey:
        """Ask for a key with this id (``user-<uuid4>``). Safe to repeat: a key that is there already is compared."""
        ...

    def check(self, name: str) -> HsmKeyStatus:
        """How far the key of that name is; does not wait."""
        ...

    def disable(self, version: str) -> None:
        """Take a key version out of use; can be undone. Safe to repeat."""
        ...

    def enable(self, version: str) -> None:
        """Bring a disabled key version back. Safe to repeat."""
        ...

    def destroy(self, version: str) -> None:
        """Schedule a key version's destruction at the provider. Safe to repeat, also for one that is gone."""
        ...

    def proof(self, name: str) -> HsmProof:
        """What shows that the key of that name is in the HSM, for the co-signer; empty where the HSM gives none."""
        ...

    def versions(self, name: str) -> list[str]:
        """The key's versions that could still be used some day; none when there is no such key."""
        ...
