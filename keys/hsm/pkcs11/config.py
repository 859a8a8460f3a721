"""Which module and which token, out of the settings."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from django.conf import settings

from keycast.crypto.authoriser_keys import Curve
from keys.hsm_errors import HsmMisconfigured

INSTALL: Final = "pip install --require-hashes -r requirements/pkcs11.txt"
NOT_INSTALLED: Final = "The library for PKCS#11 is not installed on this server (requirements/pkcs11.txt)."


@dataclass(frozen=True, slots=True)
class Pkcs11Config:
    """``module`` is the path of the vendor's library, ``token`` the token's label.

    ``pin`` is who signs. ``manager_pin`` is who makes, changes and destroys keys; empty where both are the same user.
    ``curve`` is what new keys are on.
    """

    module: str
    token: str
    pin: str = field(repr=False)
    manager_pin: str = field(repr=False)
    curve: Curve = Curve.SECP256K1

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            module=settings.PKCS11_MODULE,
            token=settings.PKCS11_TOKEN,
            pin=settings.PKCS11_PIN,
            manager_pin=settings.PKCS11_MANAGER_PIN,
            curve=Curve(settings.PKCS11_CURVE),
        )

    def problem(self) -> str:
        """Why nothing can be asked of the token, in plain words; empty when it can."""
        if not is_installed():
            return NOT_INSTALLED
        if not self.module or not Path(self.module).is_absolute() or not Path(self.module).is_file():
            return "The vendor's module for PKCS#11 is not set up on this server, or is not there."
        if not self.token:
            return "The token's label is not set up on this server."
        if not self.pin:
            return "The token's PIN is not set up on this server."
        return ""

    def require(self) -> None:
        """Raise HsmMisconfigured where there is a problem."""
        if problem := self.problem():
            raise HsmMisconfigured(problem)


def is_installed() -> bool:
    """Whether Python's library for PKCS#11 is there; does not import it."""
    return importlib.util.find_spec("pkcs11") is not None
