"""Why a key is not given out now, each with a code that the audit log keeps."""

from __future__ import annotations

from keys.errors import ExportRefused


class NotOffered(ExportRefused):
    """The deployment, the tenant or the way that the key is kept allows no export; the text says which."""

    code = "export-not-offered"


class NotInUse(ExportRefused):
    """The key, its owner, its tenant or the deployment is locked or out of use."""

    code = "export-not-in-use"
    public_message = "Only a key that is in use can be exported."


class NoSecondFactor(ExportRefused):
    """The owner has neither authenticator app nor passkey."""

    code = "export-no-second-factor"
    public_message = "An export takes a second factor. Set up an authenticator app or a passkey first."
    http_status = 403


class AskedAlready(ExportRefused):
    """An export of this key is under way."""

    code = "export-asked-already"
    public_message = "An export of this key has been asked for already."


class NothingAsked(ExportRefused):
    """No export of this key is under way: never asked for, cancelled, or downloaded."""

    code = "export-nothing-asked"
    public_message = "No export of this key is waiting: it was downloaded, cancelled, or never asked for."


class TooEarly(ExportRefused):
    """The waiting time is not over."""

    code = "export-too-early"
    public_message = "The waiting time is not over yet."


class OtherSession(ExportRefused):
    """Another session, or another browser, than the one that asked."""

    code = "export-other-session"
    public_message = "The key can be taken only in the browser session in which its export was asked for."
    http_status = 403


class Altered(ExportRefused):
    """The stored request does not fit its seal: it was written past us."""

    code = "export-altered"
    public_message = "The stored request was changed outside this service. It was cancelled; nothing was exported."
    http_status = 403
