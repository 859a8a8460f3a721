"""Errors of the primitives: constant text, never a byte of the input."""

from __future__ import annotations


class CryptoError(ValueError):
    """An input that the primitive must refuse: a wrong length, a key out of range, a point not on the curve."""


class SecretWiped(CryptoError):
    """The secret was wiped before, or while, it was used."""

    def __init__(self) -> None:
        super().__init__("the secret has been wiped")


class SignatureSelfCheckFailed(CryptoError):
    """A signature that we made does not verify; it was discarded. Points to faulty memory or hardware."""

    def __init__(self) -> None:
        super().__init__("a signature failed its own verification")


class AeadError(CryptoError):
    """A sealed blob that does not open, whatever the reason."""

    def __init__(self) -> None:
        super().__init__("sealed data does not open")
