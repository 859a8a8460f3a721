"""The one error class that crosses layers: a code for programs, a message safe to show."""

from __future__ import annotations


class KeycastError(Exception):
    """A refusal or failure whose text may leave the process.

    ``code`` is a stable lower-case slug (``"key-locked"``); ``public_message`` is a plain sentence for the
    person who can act on it. Never put key material, ciphertext or internal text in either.
    """

    code = "error"
    public_message = "Something went wrong."
    http_status = 400

    def __init__(self, public_message: str | None = None, *, code: str | None = None) -> None:
        self.public_message = public_message or type(self).public_message
        self.code = code or type(self).code
        super().__init__(self.public_message)


class NotPermitted(KeycastError):
    """The actor may not do this."""

    code = "not-permitted"
    public_message = "You are not allowed to do this."
    http_status = 403


class NotFound(KeycastError):
    """No such object in the caller's tenant; also the answer for objects of another tenant."""

    code = "not-found"
    public_message = "There is no such thing here."
    http_status = 404


class Unavailable(KeycastError):
    """Something this depends on is down or full; trying again later may work."""

    code = "temporarily-unavailable"
    public_message = "Temporarily unavailable. Please try again in a moment."
    http_status = 503
