"""Keys and versions as Cloud KMS keeps them, in memory and, if a file is named, in that file."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from google.cloud import kms_v1

State = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
Algorithm = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm
Purpose = kms_v1.CryptoKey.CryptoKeyPurpose

SYMMETRIC = Algorithm.GOOGLE_SYMMETRIC_ENCRYPTION
SECP256K1 = Algorithm.EC_SIGN_SECP256K1_SHA256
DESTROY_AFTER = 30 * 24 * 3600


@dataclass(slots=True)
class KmsCryptoKeyVersion:
    """One key version; ``secret`` is DER (signing) or 32 bytes (encryption) in base64. Times are Unix seconds."""

    name: str
    algorithm: int
    protection_level: int
    secret: str
    state: int
    created_at: float
    generated_at: float
    destroy_at: float = 0.0
    disabled_at: float = 0.0
    fails: bool = False

    def set_state(self, state: int) -> None:
        """Enable or disable."""
        self.disabled_at = time.time() if state == State.DISABLED and self.state == State.ENABLED else self.disabled_at
        self.state = state

    def was_disabled_within(self, seconds: float) -> bool:
        """Whether it is disabled, and was enabled this many seconds ago."""
        return self.state == State.DISABLED and time.time() < self.disabled_at + seconds

    def current_state(self) -> int:
        """The state as time has made it."""
        now = time.time()
        if self.state == State.PENDING_GENERATION and now >= self.generated_at:
            self.state = int(State.GENERATION_FAILED if self.fails else State.ENABLED)
        if self.state == State.DESTROY_SCHEDULED and now >= self.destroy_at:
            self.state, self.secret = int(State.DESTROYED), ""
        return self.state

    def signing_key(self) -> ec.EllipticCurvePrivateKey:
        return _loaded(self.secret)

    def public_pem(self) -> str:
        key = self.signing_key().public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def symmetric_key(self) -> bytes:
        return base64.b64decode(self.secret)


@dataclass(slots=True)
class KmsCryptoKey:
    """One crypto key."""

    name: str
    purpose: int
    algorithm: int
    protection_level: int
    created_at: float
    labels: dict[str, str] = field(default_factory=dict)
    primary: str = ""
    versions: dict[str, KmsCryptoKeyVersion] = field(default_factory=dict)


class KmsEmulatorStore:
    """Every key of the emulator. Callers hold ``lock`` while they look and change."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.keys: dict[str, KmsCryptoKey] = {}
        self.key_rings: set[str] = set()
        """Those that exist; none named: any may be used."""
        self.pending_seconds = 0.0
        self.disabling_seconds = 0.0
        """For how long a version that was disabled may still be used."""
        self.generation_failures = 0
        """So many of the next versions that sign cannot be generated."""
        self.attests = True
        self._path = path
        if path is not None and path.exists():
            self._load(json.loads(path.read_text(encoding="utf-8")))

    def add_key(self, name: str, wanted: kms_v1.CryptoKey) -> KmsCryptoKey:
        """A new key with its first version."""
        template = wanted.version_template
        algorithm = int(template.algorithm) or int(SYMMETRIC)
        level = int(template.protection_level) or int(kms_v1.ProtectionLevel.SOFTWARE)
        key = KmsCryptoKey(name, int(wanted.purpose), algorithm, level, time.time(), dict(wanted.labels))
        self.keys[name] = key
        first = self.add_version(key)
        if key.purpose == Purpose.ENCRYPT_DECRYPT:
            key.primary = first.name
        self.save()
        return key

    def add_version(self, key: KmsCryptoKey) -> KmsCryptoKeyVersion:
        """One more version; one that signs is being generated for ``pending_seconds``."""
        name = f"{key.name}/cryptoKeyVersions/{len(key.versions) + 1}"
        is_signing = key.purpose == Purpose.ASYMMETRIC_SIGN
        now = time.time()
        version = KmsCryptoKeyVersion(
            name=name,
            algorithm=key.algorithm,
            protection_level=key.protection_level,
            secret=_new_signing_secret(key.algorithm) if is_signing else _encoded(os.urandom(32)),
            state=int(State.PENDING_GENERATION if is_signing else State.ENABLED),
            created_at=now,
            generated_at=now + (self.pending_seconds if is_signing else 0.0),
            fails=is_signing and self.generation_failures > 0,
        )
        self.generation_failures -= version.fails
        key.versions[name] = version
        self.save()
        return version

    def version(self, name: str) -> KmsCryptoKeyVersion | None:
        key = self.keys.get(name.rpartition("/cryptoKeyVersions/")[0])
        return key.versions.get(name) if key else None

    def save(self) -> None:
        """Write the file, if there is one, in one step."""
        if self._path is None:
            return
        temporary = self._path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump([asdict(key) for key in self.keys.values()], out)
        temporary.replace(self._path)

    def _load(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            versions = {name: KmsCryptoKeyVersion(**fields) for name, fields in row.pop("versions").items()}
            self.keys[row["name"]] = KmsCryptoKey(**row, versions=versions)


@lru_cache(maxsize=4096)
def _loaded(secret: str) -> ec.EllipticCurvePrivateKey:
    key = load_der_private_key(base64.b64decode(secret), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a signing key")
    return key


def _encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def _new_signing_secret(algorithm: int) -> str:
    curve = ec.SECP256K1() if algorithm == SECP256K1 else ec.SECP256R1()
    key = ec.generate_private_key(curve)
    return _encoded(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
