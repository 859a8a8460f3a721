"""Who Keycast is to the device, call by call: user names and their passphrases.

Passphrases of users in namespaces are HKDF-SHA256 (RFC 5869) of a configured password, bound to role and namespace: one
that leaks opens one namespace in one role, and none has to be stored.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Final, NamedTuple

import httpx
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.hsm.nethsm.config import NetHsmConfig

ADMINISTRATOR: Final = "Administrator"
OPERATOR: Final = "Operator"
_SALT: Final = b"keycast/nethsm/passphrase/v1"


class NetHsmUser(NamedTuple):
    """A user of the device. Its repr shows no passphrase."""

    name: str
    role: str
    passphrase: str

    def __repr__(self) -> str:
        return f"<User {self.name}>"

    @property
    def auth(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self.name, self.passphrase)


def root(config: NetHsmConfig) -> NetHsmUser:
    """The R-Administrator."""
    return NetHsmUser(config.admin_user, ADMINISTRATOR, config.admin_password)


def administrator(config: NetHsmConfig, namespace: str) -> NetHsmUser:
    """Who makes and deletes keys in a namespace."""
    return NetHsmUser(
        f"{namespace}~admin", ADMINISTRATOR, _passphrase(config.namespace_password, ADMINISTRATOR, namespace)
    )


def operator(config: NetHsmConfig, namespace: str) -> NetHsmUser:
    """Who signs in a namespace."""
    name = f"{namespace}~{config.operator_user}"
    return NetHsmUser(name, OPERATOR, _passphrase(config.operator_password, OPERATOR, namespace))


@lru_cache(4096)
def _passphrase(password: str, role: str, namespace: str) -> str:
    derived = HKDF(SHA256(), 32, _SALT, f"{role}\0{namespace}".encode()).derive(password.encode())
    return base64.urlsafe_b64encode(derived).decode().rstrip("=")
