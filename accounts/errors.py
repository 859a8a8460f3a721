"""What this app refuses with."""

from __future__ import annotations

from keycast.base.errors import KeycastError, NotPermitted, Unavailable


class TooManySignIns(Unavailable):
    """More passwords are to be hashed than memory is set aside for."""

    code = "too-many-sign-ins"
    public_message = "Many people are signing in at this moment. Please try again in a few seconds."


class AccountNotSealed(NotPermitted):
    """An account, or a means to sign in to it, was written past us (accounts.account_seals)."""

    code = "account-not-sealed"
    public_message = (
        "Something about this account was changed outside this service, so nobody can sign in to it. "
        "Please contact whoever runs it."
    )


class Conflict(KeycastError):
    """It exists already, or its present state does not allow this."""

    code = "conflict"
    public_message = "This is not possible in the present state."
    http_status = 409


class InvalidValue(KeycastError):
    """A value that cannot be."""

    code = "invalid"
    public_message = "This value is not valid."


class InvitationInvalid(KeycastError):
    """An invitation that does not exist, was used, withdrawn or has expired, or is for another e-mail address."""

    code = "invitation-invalid"
    public_message = "This invitation is not valid. It may have been used, withdrawn or have expired."
    http_status = 404


class LastOwner(KeycastError):
    """A tenant keeps at least one active owner."""

    code = "last-owner"
    public_message = "A tenant needs at least one active owner. Make somebody else an owner first."
    http_status = 409


class OwnApprovalRequest(NotPermitted):
    """Somebody tried to decide on their own request."""

    code = "own-request"
    public_message = "You asked for this yourself. Another person has to decide; you can withdraw it."


class AlreadyRequested(Conflict):
    """The very same thing is asked for, and nobody has decided yet."""

    code = "asked-already"
    public_message = "This has been asked for already and waits for a decision."


class AlreadyDecided(Conflict):
    """Somebody decided before, or the time is over: the first decision stands."""

    code = "decided"
    public_message = "This request is closed."
