"""Personal keys, the transport keys that answer for them, and changes of them that are under way: a module for each."""

from keys.models.comparisons import CosignerComparison
from keys.models.exports import ExportState, KeyExport
from keys.models.hsm import AuthoriserProof, Conversion, ConversionStep, ProofKind, Succession, SuccessionStep
from keys.models.inventory import HsmInventory, HsmOrphan, InventoryState, OrphanState
from keys.models.personal_keys import KeyState, PersonalKey, Provider
from keys.models.refreshes import HalfRefresh, RefreshStep
from keys.models.rotations import Rotation, RotationState
from keys.models.transport_keys import TransportKey

__all__ = [
    "AuthoriserProof",
    "Conversion",
    "ConversionStep",
    "CosignerComparison",
    "ExportState",
    "HalfRefresh",
    "HsmInventory",
    "HsmOrphan",
    "InventoryState",
    "KeyExport",
    "KeyState",
    "OrphanState",
    "PersonalKey",
    "ProofKind",
    "Provider",
    "RefreshStep",
    "Rotation",
    "RotationState",
    "Succession",
    "SuccessionStep",
    "TransportKey",
]
