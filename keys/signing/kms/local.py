"""Key-encryption keys from a file or the environment, with one subkey per tenant."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from keycast.crypto import aead
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged
from keys.signing.kms import keyfile
from keys.signing.kms.protocol import WrappedDataKey

_SUBKEY_INFO: Final = b"keycast/key-encryption-key/1\x00"
_SUBKEYS_KEPT: Final = 256


class LocalKekProvider:
    """Wraps with AES-256-GCM under HKDF-SHA256(key-encryption key, tenant id); see keys.signing.kms.protocol.

    ``source`` reads the configuration; it is read again when a version is asked for that is not known yet, and
    whenever ``revision`` (cheap) differs, so that a rotation needs no restart.
    """

    name = "local"
    blocking = False

    def __init__(self, source: Callable[[], bytes], revision: Callable[[], object] = lambda: None) -> None:
        self._source = source
        self._revision = revision
        self._lock = threading.Lock()
        self._keys: dict[str, SecretBytes] = {}
        self._subkeys: dict[tuple[str, UUID], SecretBytes] = {}
        self._read_at: object = None
        self._load()

    @classmethod
    def from_settings(cls) -> Self:
        """As ``KEYCAST_KEK``, ``KEYCAST_KEK_FILE`` or, outside production, the file ``kek`` of the data folder say."""
        path = key_file()
        if path is None:
            return cls(lambda: os.environ.get("KEYCAST_KEK", "").encode())
        return cls.from_file(path, strict_mode=settings.IS_PRODUCTION)

    @classmethod
    def from_file(cls, path: Path, *, strict_mode: bool) -> Self:
        """From one key file; ``strict_mode`` demands that only its owner can read it."""
        return cls(lambda: keyfile.read(path, strict_mode=strict_mode), lambda: _file_revision(path))

    def wrap(self, data_key: SecretBytes, *, tenant_id: UUID, aad: bytes) -> WrappedDataKey:
        version = self.current_version(tenant_id)
        return WrappedDataKey(version, aead.seal(self._subkey(version, tenant_id), data_key, _bound(version, aad)))

    def unwrap(self, blob: bytes, *, kek_version: str, tenant_id: UUID, aad: bytes) -> SecretBytes:
        subkey = self._subkey(kek_version, tenant_id)
        try:
            return aead.open_into(subkey, blob, _bound(kek_version, aad))
        except aead.AeadError:
            raise KeyDamaged from None

    def current_version(self, tenant_id: UUID) -> str:
        self._refresh()
        return next(reversed(self._keys))

    def _subkey(self, version: str, tenant_id: UUID) -> SecretBytes:
        known = self._subkeys.get((version, tenant_id))
        if known is not None:
            return known
        if version not in self._keys:
            self._refresh()
        with self._lock:
            if version not in self._keys:
                raise KekUnavailable("This was sealed under a key-encryption key version that is not configured.")
            subkey = _derive(self._keys[version], tenant_id)
            if len(self._subkeys) >= _SUBKEYS_KEPT:
                self._subkeys.pop(next(iter(self._subkeys)), None)
            self._subkeys[(version, tenant_id)] = subkey
            return subkey

    def _refresh(self) -> None:
        if self._revision() != self._read_at:
            self._load()

    def _load(self) -> None:
        with self._lock:
            revision = self._revision()
            keys = keyfile.parse(self._source())
            # Subkeys of a version that went away, or changed, must not outlive it. Dropped ones are wiped when the
            # last call that uses them lets go.
            self._subkeys = {}
            self._keys, self._read_at = keys, revision


def key_file() -> Path | None:
    """The file that the keys are read from; None where they come from ``KEYCAST_KEK``. Raises KekUnavailable."""
    value, path = os.environ.get("KEYCAST_KEK", ""), os.environ.get("KEYCAST_KEK_FILE", "")
    if value and path:
        raise KekUnavailable("Set KEYCAST_KEK or KEYCAST_KEK_FILE, not both.")
    if value:
        return None
    if not path and settings.IS_PRODUCTION:
        raise KekUnavailable("No key-encryption key: set KEYCAST_KEK_FILE (or KEYCAST_KEK).")
    return Path(path) if path else Path(settings.DATA_DIR) / "kek"


def _derive(kek: SecretBytes, tenant_id: UUID) -> SecretBytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=_SUBKEY_INFO + tenant_id.bytes)
    return SecretBytes.adopt_bytes(kdf.derive(kek.view()))


def _bound(version: str, aad: bytes) -> bytes:
    label = version.encode()
    return b"local\x00" + bytes([len(label)]) + label + aad


def _file_revision(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        raise KekUnavailable(f"The key-encryption key file cannot be read: {type(error).__name__}.") from None
    return status.st_ino, status.st_mtime_ns, status.st_size
