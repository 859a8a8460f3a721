"""What a provider says of itself, once: everything that the rest of the program asks of it or shows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from keycast.audit import signing as audit_signing
    from keys.hsm.inventory.listing import HsmKeyReader
    from keys.hsm.protocol import HsmKeyManager
    from keys.lifecycle.modes import ModeBackend
    from keys.refs import Capabilities
    from keys.signing.kms.protocol import KekProvider
    from keys.signing.kms.versions import KekVersionManager
    from keys.signing.protocol import Authoriser, Signer
    from keys.signing.reports import HsmReport


@dataclass(frozen=True, slots=True, kw_only=True)
class HsmDescription:
    """Keys of mode ``hsm``. Everything is made when it is asked for: a provider's library may take long to import.

    ``authoriser`` is set where the HSM authorises what two halves of a split key sign, and None where it signs itself.
    ``new_key_name`` draws the name of a key that is to be made for a tenant (its id), which no key has.
    ``keeper`` and ``stock`` give None where the settings do not say where the keys are.
    """

    whole: str
    """Where the whole key is while it signs, in plain words."""
    at_rest: str
    """How it is stored."""
    latency: str
    """Time for a signature, usually."""
    ending: str
    """When a destroyed key is gone."""
    can_disable: Callable[[], bool]
    """Whether one key can be taken out of use there, and brought back."""
    is_set_up: Callable[[], bool]
    """Whether the settings name the HSM."""
    is_emulated: Callable[[], bool]
    capabilities: Callable[[], Capabilities]
    backend: Callable[[], ModeBackend]
    signer: Callable[[], Signer]
    keeper: Callable[[], HsmKeyManager | None]
    stock: Callable[[], HsmKeyReader | None]
    inspect: Callable[[], Iterator[HsmReport]]
    authoriser: Callable[[], Authoriser] | None = None
    new_key_name: Callable[[UUID], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KekDescription:
    """Key-encryption keys. ``owns`` tells by its name whether a version is one of this provider's."""

    at_rest: str
    is_set_up: Callable[[], bool]
    make: Callable[[], KekProvider]
    versions: Callable[[], KekVersionManager]
    owns: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDescription:
    """Signatures over checkpoints of the audit log."""

    is_set_up: Callable[[], bool]
    signer: Callable[[], audit_signing.StatementSigner]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """One provider, by the name that rows have (keys.models.Provider); ``service`` is what its calls are logged as."""

    name: str
    service: str
    hsm: HsmDescription | None = None
    kek: KekDescription | None = None
    checkpoints: CheckpointDescription | None = None
