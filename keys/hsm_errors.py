"""What an HSM refuses with, or fails with. Every text may be shown to the owner and sent to a client."""

from __future__ import annotations

from keycast.base.errors import Unavailable
from keys.errors import CustodyError, KeyUnavailable


class HsmUnavailable(Unavailable):
    """The HSM did not answer in time, is down, or is left alone for a moment because it was."""

    code = "hsm-unavailable"
    public_message = "The HSM is temporarily unavailable. Please try again in a moment."


class HsmThrottled(HsmUnavailable):
    """The HSM's quota is used up, or too many requests wait for it already."""

    code = "hsm-throttled"
    public_message = "The HSM is busy. Please try again in a moment."


class HsmAnswerRefused(HsmUnavailable):
    """An answer failed its checks (checksum, key name, signature) and was thrown away, each time it was asked for."""

    code = "hsm-answer-refused"
    public_message = "The HSM's answer failed its integrity check and was not used. Please try again in a moment."


class HsmForbidden(CustodyError):
    """The HSM does not let this server use the key; only an operator can change that."""

    code = "hsm-forbidden"
    public_message = "The HSM does not allow this server to use the key. The operators have to look at its permissions."
    http_status = 503


class HsmKeyUnusable(KeyUnavailable):
    """The key's version in the HSM is disabled, destroyed or gone: nothing can be authorised with it."""

    code = "hsm-key-unusable"
    public_message = "This key is disabled in the HSM."


class HsmMisconfigured(CustodyError):
    """The HSM's settings name something that does not exist, or that is not of the kind needed."""

    code = "hsm-misconfigured"
    public_message = "The HSM is not set up correctly. The operators have to look at its settings."
    http_status = 503
