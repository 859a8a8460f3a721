"""Who signs checkpoints and cuts: a local Ed25519 key, or what another app registers (Cloud KMS, keys.hsm)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import cache
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from keycast.audit.statements import Keyring, StatementError, parse_public_key

PREFIX: Final = "ed25519:"
SEED_SIZE: Final = 32


class StatementSigner(Protocol):
    """Signs statements. ``sign`` may block and raise a KeycastError."""

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        ...

    def sign(self, message: bytes) -> bytes: ...


class LocalStatementSigner:
    """An Ed25519 key that this process holds."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def __repr__(self) -> str:
        return "<LocalSigner>"

    @classmethod
    def from_text(cls, text: str) -> LocalStatementSigner:
        """From ``ed25519:`` and 32 bytes in base64. Raises ImproperlyConfigured, without the text."""
        try:
            seed = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
        except binascii.Error:
            seed = b""
        if not text.strip().startswith(PREFIX) or len(seed) != SEED_SIZE:
            raise ImproperlyConfigured(
                "KEYCAST_AUDIT_CHECKPOINT_KEY is no key; manage.py generate_checkpoint_key does."
            )
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


_others: dict[str, Callable[[], StatementSigner]] = {}


def register(name: str, make: Callable[[], StatementSigner]) -> None:
    """Let another app bring a signer; ``make`` runs on first use."""
    _others[name] = make
    current.cache_clear()


@cache
def current() -> StatementSigner | None:
    """This process's signer, or None where it has none. Raises ImproperlyConfigured."""
    if settings.AUDIT_CHECKPOINT_KEY and settings.AUDIT_CHECKPOINT_KMS_KEY:
        raise ImproperlyConfigured("Set KEYCAST_AUDIT_CHECKPOINT_KEY or KEYCAST_AUDIT_CHECKPOINT_KMS_KEY, not both.")
    if settings.AUDIT_CHECKPOINT_KEY:
        return LocalStatementSigner.from_text(settings.AUDIT_CHECKPOINT_KEY)
    if settings.AUDIT_CHECKPOINT_KMS_KEY and "google" in _others:
        return _others["google"]()
    return None


def is_configured() -> bool:
    """Whether checkpoints are made in this installation, by this process or by another one."""
    return bool(
        settings.AUDIT_CHECKPOINT_KEY or settings.AUDIT_CHECKPOINT_KMS_KEY or settings.AUDIT_CHECKPOINT_PUBLIC_KEYS
    )


def trusted() -> Keyring:
    """The public keys that are believed: the own one and KEYCAST_AUDIT_CHECKPOINT_PUBLIC_KEYS."""
    try:
        keys = [parse_public_key(text) for text in settings.AUDIT_CHECKPOINT_PUBLIC_KEYS]
    except StatementError:
        raise ImproperlyConfigured("KEYCAST_AUDIT_CHECKPOINT_PUBLIC_KEYS has what is no public key.") from None
    signer = current()
    return Keyring([*keys, *([signer.public_key] if signer else [])])
