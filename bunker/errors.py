"""What connections and pairing can refuse with. Every message is for the person who can act on it."""

from __future__ import annotations

from keycast.base.errors import KeycastError


class UnknownPolicy(KeycastError):
    """The policy's slug is not among the templates."""

    code = "unknown-policy"
    public_message = "There is no policy of that name."


class PolicyNotOffered(KeycastError):
    """The tenant does not offer this policy to its people."""

    code = "policy-not-offered"
    public_message = "This community does not offer that policy. Choose one of those shown."
    http_status = 403


class InvalidConnection(KeycastError):
    """A field of a connection cannot be used as given."""

    code = "invalid-connection"
    public_message = "This connection cannot be made as asked."


class TooManyConnections(KeycastError):
    """The key has as many live connections as one key may have."""

    code = "too-many-connections"
    public_message = "This key has too many connected apps. Revoke some that you no longer use."
    http_status = 409


class ConnectionEnded(KeycastError):
    """The connection is over; nothing about it can change any more."""

    code = "connection-ended"
    public_message = "This app's access has already ended."
    http_status = 409


class GrantNotSealed(KeycastError):
    """The connection's row does not fit its seal: something else than Keycast wrote it. It can be ended alone."""

    code = "grant-not-sealed"
    public_message = "This app's access does not fit what this server granted. Revoke it, and connect the app again."
    http_status = 409


class PairingRefused(KeycastError):
    """A ``connect`` was refused; the client hears the message, the audit log the code."""

    code = "pairing-refused"
    public_message = "The secret of this bunker URL is missing, wrong, used or expired. Ask for a new bunker URL."
    http_status = 403
