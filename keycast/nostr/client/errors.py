"""What can go wrong between a client and its bunker, each with the exit code that our commands end with."""

from __future__ import annotations

from keycast.base.errors import KeycastError


class ClientError(KeycastError):
    """The request got no good answer; ``public_message`` says why in plain words."""

    code = "client-error"
    public_message = "The bunker could not be used."
    exit_code = 1


class BunkerRefused(ClientError):
    """The bunker answered with an error, whose text is the bunker's own."""

    code = "refused"
    exit_code = 1


class BadBunkerUrl(ClientError):
    """Not a bunker:// address that can be used (NIP-46, "Direct connection initiated by remote-signer")."""

    code = "bad-bunker-url"
    public_message = "This is not a bunker:// address with a signer's public key and at least one relay."
    exit_code = 2


class BadClientKey(ClientError):
    """The file with the client's own key cannot be read, written, or trusted."""

    code = "bad-client-key"
    exit_code = 2


class RelaysUnreachable(ClientError):
    """No relay of the bunker's address could be reached."""

    code = "relays-unreachable"
    exit_code = 3


class RelaysRefused(ClientError):
    """Every relay that was reached refused the request's event."""

    code = "relays-refused"
    exit_code = 3


class NoAnswer(ClientError):
    """Nothing came back in time."""

    code = "no-answer"
    exit_code = 4


class BadAnswer(ClientError):
    """The answer is not what was asked for, or does not verify; it must not be used."""

    code = "bad-answer"
    exit_code = 5
