"""What a module's return values mean (PKCS#11 v2.40, section 5.1), before they leave the thread that calls it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from keys.hsm_errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured, HsmUnavailable


class FailureKind(Enum):
    """What follows from a failure."""

    AWAY = "the token, its module or the login is gone: log in anew, then once more"
    PIN = "the token does not take the PIN: never again with this one"
    KEY = "the key is gone or may not be used"
    REFUSED = "the token cannot do what is asked"


class TokenFailure(Exception):
    """A call to the module failed. ``reason`` is the name of the return value, for the log."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason

    @property
    def error(self) -> HsmForbidden | HsmKeyUnusable | HsmMisconfigured | HsmUnavailable:
        """What it is called outside of this package."""
        if self.kind is FailureKind.PIN:
            return HsmForbidden("The HSM does not accept this server's PIN. The operators have to look at it.")
        if self.kind is FailureKind.KEY:
            return HsmKeyUnusable()
        if self.kind is FailureKind.REFUSED:
            return HsmMisconfigured("The HSM cannot do what is asked of it: ECDSA with a key on KEYCAST_PKCS11_CURVE.")
        return HsmUnavailable()


_PIN: Final = frozenset(
    {"PinExpired", "PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked", "UserPinNotInitialized", "UserTypeInvalid"}
)
_KEY: Final = frozenset({"KeyHandleInvalid", "ObjectHandleInvalid", "NoSuchKey", "MultipleObjectsReturned"})
_REFUSED: Final = frozenset(
    {
        *("ArgumentsBad", "AttributeReadOnly", "AttributeTypeInvalid", "AttributeValueInvalid", "DomainParamsInvalid"),
        *("FunctionNotSupported", "KeySizeRange", "KeyTypeInconsistent", "MechanismInvalid", "MechanismParamInvalid"),
        *("TemplateIncomplete", "TemplateInconsistent", "TokenWriteProtected", "SessionReadOnly", "DataLenRange"),
        *("MultipleTokensReturned", "AnotherUserAlreadyLoggedIn"),
    }
)
_NOT_PERMITTED: Final = "0x68"
"""CKR_KEY_FUNCTION_NOT_PERMITTED, for which python-pkcs11 has no class."""


def failure_of(error: Exception) -> TokenFailure:
    """What an exception of python-pkcs11 means; its text, which may name tokens, goes no further."""
    name = type(error).__name__
    if name == "PKCS11Error" and str(error).endswith(_NOT_PERMITTED):
        return TokenFailure(FailureKind.KEY, "KeyFunctionNotPermitted")
    kind = (
        FailureKind.PIN
        if name in _PIN
        else FailureKind.KEY
        if name in _KEY
        else FailureKind.REFUSED
        if name in _REFUSED
        else FailureKind.AWAY
    )
    return TokenFailure(kind, name)
