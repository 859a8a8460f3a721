"""Quotas as Cloud KMS enforces them: calls in one second, of one kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from keycast.emulators.kms import refusals

METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "HSM asymmetric cryptographic requests": ("AsymmetricSign", "GetPublicKey"),
    "HSM symmetric cryptographic requests": ("Encrypt", "Decrypt"),
    "Read requests": ("GetCryptoKey", "GetCryptoKeyVersion", "ListCryptoKeys", "ListCryptoKeyVersions", "GetKeyRing"),
    "Write requests": (
        *("CreateKeyRing", "CreateCryptoKey", "CreateCryptoKeyVersion", "UpdateCryptoKeyVersion"),
        *("UpdateCryptoKeyPrimaryVersion", "DestroyCryptoKeyVersion", "RestoreCryptoKeyVersion"),
    ),
}


class KmsQuotas:
    """None until they are set. Callers hold the store's lock."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def set(self, limits: Mapping[str, int]) -> None:
        """Calls a second by metric (METRICS); what is not named is not limited. Raises ValueError."""
        if not limits.keys() <= METRICS.keys():
            raise ValueError(f"the metrics are: {', '.join(METRICS)}")
        self._limits, self._counts = dict(limits), {}

    def take(self, method: str, resource: str) -> None:
        """Count one call. Raises KmsEmulatorError when the second is used up."""
        for metric, methods in METRICS.items():
            limit = self._limits.get(metric)
            if limit is None or method not in methods:
                continue
            second = int(time.monotonic())
            began, count = self._counts.get(metric, (second, 0))
            count = count + 1 if began == second else 1
            self._counts[metric] = (second, count)
            if count > limit:
                raise refusals.quota_exceeded(metric, limit, "/".join(resource.split("/")[:2]))
