"""What this app refuses with."""

from __future__ import annotations

from keycast.base.errors import KeycastError


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
