"""The signer away, and its refusals as they cross the socket: by class, code and public text, nothing else."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from keycast.base import errors as general
from keycast.base.errors import KeycastError
from keys import errors as custody
from keys import hsm_errors as hsm
from keys.errors import CustodyError, KekUnavailable
from keys.signing.cosigning import errors as cosigning
from keys.signing.cosigning.client import LostReply


class SignerUnavailable(KekUnavailable):
    """The signer does not answer, or went away while it was asked; nothing was released."""

    code = "signer-unavailable"
    public_message = "The signer is not available. Please try again in a moment."


class SignerBusy(SignerUnavailable):
    """Too many requests are waiting for the signer."""

    code = "signer-busy"
    public_message = "The signer is busy. Please try again in a moment."


class SignerFailed(CustodyError):
    """The signer failed in a way that it has no name for; its own log has the class of it."""

    code = "signer-failed"
    public_message = "The signer could not do that. The operators can see why in its log."
    http_status = 500


def _errors_of(*modules: ModuleType) -> dict[str, type[KeycastError]]:
    found = (value for module in modules for value in vars(module).values())
    return {each.__name__: each for each in found if isinstance(each, type) and issubclass(each, KeycastError)}


_BY_NAME: Final = _errors_of(general, custody, cosigning, hsm) | {
    error.__name__: error for error in (LostReply, SignerBusy, SignerFailed, SignerUnavailable)
}


def name_of(error: KeycastError) -> str:
    """How a class is called on the wire: its own name, or its nearest known ancestor's."""
    return next(each.__name__ for each in type(error).__mro__ if each.__name__ in _BY_NAME)


def error_of(kind: str, code: str, text: str) -> KeycastError:
    """The error that was raised in the signer; one without a known class is a refusal like any other."""
    return _BY_NAME.get(kind, SignerFailed)(text[:500] or None, code=code[:64] or None)
