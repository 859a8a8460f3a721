"""What the emulated device holds: users, namespaces and keys, in memory."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey, derive_private_key

from keycast.crypto.schnorr import Keypair

#: A user who gave wrong credentials is not listened to for so many seconds (NetHSM: 1).
THROTTLE_SECONDS: Final = 1.0


@dataclass(slots=True)
class NetHsmEmulatorUser:
    """A user; ``~`` in its id separates a namespace from the name."""

    id: str
    real_name: str
    role: str
    passphrase: str = field(repr=False)

    @property
    def namespace(self) -> str:
        return namespace_of(self.id)


@dataclass(slots=True)
class NetHsmEmulatorKey:
    """A key on secp256k1, with what it may do."""

    mechanisms: list[str]
    keypair: Keypair = field(repr=False)
    point: EllipticCurvePublicKey
    label: str = ""
    tags: list[str] = field(default_factory=list)
    operations: int = 0


class NetHsmEmulatorStore:
    """The device's content. A fresh one has a single R-Administrator."""

    def __init__(self, admin: str, passphrase: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.users = {admin: NetHsmEmulatorUser(admin, "Administrator", "Administrator", passphrase)}
        self.namespaces: set[str] = set()
        self.keys: dict[tuple[str, str], NetHsmEmulatorKey] = {}
        self._clock = clock
        self._failed_at: dict[str, float] = {}

    def is_throttled(self, user_id: str) -> bool:
        """Whether this user gave wrong credentials just now."""
        return self._clock() - self._failed_at.get(user_id, float("-inf")) < THROTTLE_SECONDS

    def authenticate(self, user_id: str, passphrase: str) -> NetHsmEmulatorUser | None:
        """The user, if the passphrase is its own."""
        found = self.users.get(user_id)
        if found is not None and hmac.compare_digest(found.passphrase.encode(), passphrase.encode()):
            return found
        self._failed_at[user_id] = self._clock()
        return None

    def remove_namespace(self, namespace: str) -> None:
        """Delete a namespace, and the keys in it; its users stay, of no use."""
        self.namespaces.discard(namespace)
        self.keys = {place: key for place, key in self.keys.items() if place[0] != namespace}


def make_key(mechanisms: list[str]) -> NetHsmEmulatorKey:
    """A fresh key."""
    keypair, secret = Keypair.generate()
    with secret:
        point = derive_private_key(int.from_bytes(secret.view(), "big"), SECP256K1()).public_key()
    return NetHsmEmulatorKey(mechanisms, keypair, point)


def namespace_of(user_id: str) -> str:
    """The namespace that a user's id names; empty for a user of the whole device."""
    return user_id.partition("~")[0] if "~" in user_id else ""
