"""Who may do what in the emulator (IAM): accounts, and the permissions that they have on a key ring.

Off until somebody is given a permission: then nobody has any but those given. A caller is whom its ``authorization``
says it is, unchecked: this is an emulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import grpc

from keycast.emulators.kms import refusals

NEEDED: Final[Mapping[str, str]] = {
    "CreateKeyRing": "cloudkms.keyRings.create",
    "GetKeyRing": "cloudkms.keyRings.get",
    "CreateCryptoKey": "cloudkms.cryptoKeys.create",
    "GetCryptoKey": "cloudkms.cryptoKeys.get",
    "ListCryptoKeys": "cloudkms.cryptoKeys.list",
    "UpdateCryptoKeyPrimaryVersion": "cloudkms.cryptoKeys.update",
    "CreateCryptoKeyVersion": "cloudkms.cryptoKeyVersions.create",
    "GetCryptoKeyVersion": "cloudkms.cryptoKeyVersions.get",
    "ListCryptoKeyVersions": "cloudkms.cryptoKeyVersions.list",
    "UpdateCryptoKeyVersion": "cloudkms.cryptoKeyVersions.update",
    "DestroyCryptoKeyVersion": "cloudkms.cryptoKeyVersions.destroy",
    "RestoreCryptoKeyVersion": "cloudkms.cryptoKeyVersions.restore",
    "GetPublicKey": "cloudkms.cryptoKeyVersions.viewPublicKey",
    "AsymmetricSign": "cloudkms.cryptoKeyVersions.useToSign",
    "Encrypt": "cloudkms.cryptoKeyVersions.useToEncrypt",
    "Decrypt": "cloudkms.cryptoKeyVersions.useToDecrypt",
}
"""The permission that each call needs (Cloud KMS, "Permissions and roles")."""


class KmsAccess:
    """Bindings of accounts to permissions, by the resource that they are given on."""

    def __init__(self) -> None:
        self._bindings: dict[str, dict[str, frozenset[str]]] = {}

    @property
    def is_on(self) -> bool:
        return bool(self._bindings)

    def set(self, bindings: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
        """``{account: {resource: permissions}}``; nothing turns it off. A permission holds for what lies below, too."""
        self._bindings = {
            account: {resource: frozenset(given) for resource, given in resources.items()}
            for account, resources in bindings.items()
        }

    def require(self, context: grpc.ServicerContext, method: str, resource: str) -> None:
        """Raise KmsEmulatorError unless the caller may do this with the resource."""
        if not self.is_on:
            return
        account = caller(context)
        if not account:
            raise refusals.unauthenticated()
        if not self.has(account, NEEDED[method], resource):
            raise refusals.permission_denied(NEEDED[method], resource)

    def has(self, account: str, permission: str, resource: str) -> bool:
        """Whether this account has the permission on the resource, or on what it lies in."""
        if not self.is_on:
            return True
        return any(
            permission in given and (resource == above or resource.startswith(f"{above}/"))
            for above, given in self._bindings.get(account, {}).items()
        )


def caller(context: grpc.ServicerContext) -> str:
    """The account that calls; empty when it does not say."""
    metadata = dict(context.invocation_metadata())
    return str(metadata.get("authorization", "")).removeprefix("Bearer ")
