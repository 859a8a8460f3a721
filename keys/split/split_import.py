"""An existing key that its owner's browser splits: what the page is given, and what it hands back.

The page's script is ``static/js/import_split.js``. Its key id, token and signer A's encryption key are drawn for one
page; the co-signer's encryption key is the co-signer's own (keys.cosigner.sealed_imports).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import UUID, uuid4

from accounts.models import Tenant
from keys.errors import KeyModeUnavailable, SealedHalfRefused
from keys.hsm import providers, registration
from keys.refs import SealedSecret
from keys.signing.sealed_halves import SEALED_SIZE, TOKEN_SIZE, PageKey, SealedHalves, SplitStatement, fingerprint

GOOD_FOR: Final = 3600.0
"""Seconds for which a page may be left open."""


@dataclass(frozen=True, slots=True)
class SplitImport:
    """One page: to be kept on the server, for the person it was made for. ``at`` is Unix time in seconds."""

    tenant_id: UUID
    key_id: UUID
    token: bytes
    page_key: PageKey
    cosigner_key: bytes
    at: float

    def shown(self) -> dict[str, str]:
        """What the page's script is told: all of it public."""
        return {
            "tenant": self.tenant_id.hex,
            "key": self.key_id.hex,
            "token": self.token.hex(),
            "signer_key": self.page_key.public.hex(),
            "cosigner_key": self.cosigner_key.hex(),
            "fingerprint": fingerprint(self.cosigner_key),
        }

    def kept(self) -> dict[str, Any]:
        """As JSON; see ``of``."""
        sealed = self.page_key.sealed
        page = {"provider": sealed.provider, "kek_version": sealed.kek_version, "blob": sealed.blob.hex()}
        return {**self.shown(), "sealed": page, "at": self.at}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Self:
        """What ``kept`` gave. Raises SealedHalfRefused for anything else."""
        try:
            page = kept["sealed"]
            sealed = SealedSecret(page["provider"], page["kek_version"], bytes.fromhex(page["blob"]))
            return cls(
                UUID(hex=kept["tenant"]),
                UUID(hex=kept["key"]),
                bytes.fromhex(kept["token"]),
                PageKey(bytes.fromhex(kept["signer_key"]), sealed),
                bytes.fromhex(kept["cosigner_key"]),
                float(kept["at"]),
            )
        except (KeyError, TypeError, ValueError):
            raise SealedHalfRefused from None


@dataclass(frozen=True, slots=True)
class SplitInBrowser:
    """What the page hands back: the keys (x-only) and the tweak are public, the halves are sealed."""

    public_key: bytes
    half_a: bytes
    half_b: bytes
    tweak: bytes
    sealed_a: bytes = field(repr=False)
    sealed_b: bytes = field(repr=False)

    @classmethod
    def of(cls, said: object) -> Self:
        """From the page's JSON, strictly. Raises SealedHalfRefused."""
        if not isinstance(said, dict) or set(said) != set(_SIZES):
            raise SealedHalfRefused
        try:
            parts = {name: bytes.fromhex(said[name]) for name in _SIZES}
        except (TypeError, ValueError):
            raise SealedHalfRefused from None
        if any(len(parts[name]) != size for name, size in _SIZES.items()):
            raise SealedHalfRefused
        return cls(**parts)


_SIZES: Final = {
    **dict.fromkeys(("public_key", "half_a", "half_b", "tweak"), 32),
    **dict.fromkeys(("sealed_a", "sealed_b"), SEALED_SIZE),
}


def begin(tenant: Tenant) -> SplitImport:
    """Draw a page. Raises KeyModeUnavailable where keys are not split here, KekUnavailable, CosignerUnavailable."""
    if not providers.splits_here():
        raise KeyModeUnavailable("Keys are not split on this server.")
    key_id = uuid4()
    page_key, cosigner = registration.splitter().page_keys(tenant.id, key_id)
    return SplitImport(tenant.id, key_id, os.urandom(TOKEN_SIZE), page_key, cosigner, time.time())


def halves_of(
    tenant: Tenant, begun: SplitImport, made: SplitInBrowser, clock: Callable[[], float] = time.time
) -> SealedHalves:
    """What is to be adopted. Raises SealedHalfRefused for a page of another tenant, or one left open for too long."""
    if begun.tenant_id != tenant.id or not 0 <= clock() - begun.at <= GOOD_FOR:
        raise SealedHalfRefused
    said = SplitStatement(
        begun.tenant_id, begun.key_id, begun.token, made.public_key, made.half_a, made.half_b, made.tweak
    )
    return SealedHalves(said, begun.page_key, made.sealed_a, made.sealed_b)
