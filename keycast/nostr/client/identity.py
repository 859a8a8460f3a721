"""The client's own key pair: fresh for one run, or kept in a file so that a pairing lasts."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr.client.errors import BadClientKey

_HEX_LINE = re.compile(rb"[0-9a-f]{64}\n?\Z")


def fresh() -> Keypair:
    """A client key for this run only."""
    keypair, secret = Keypair.generate()
    secret.wipe()
    return keypair


def load_or_create(path: Path) -> Keypair:
    """The client key in ``path`` (64 lower-case hex digits), made on first use with mode 0600.

    Raises BadClientKey when others may read the file, or it holds something else.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadClientKey(f"The client key file cannot be opened: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise BadClientKey("Others may read the client key file; make its mode 0600.")
        content = bytearray(file.read(128) or b"")
        return _read(content) if content else _write(file.fileno())


def _read(content: bytearray) -> Keypair:
    if not _HEX_LINE.match(content):
        raise BadClientKey("The client key file does not hold a key of 64 lower-case hex digits.")
    with SecretBytes(bytes.fromhex(content[:64].decode())) as secret:
        try:
            return Keypair.from_secret(secret)
        except ValueError:
            raise BadClientKey("The client key file does not hold a valid key.") from None


def _write(descriptor: int) -> Keypair:
    keypair, secret = Keypair.generate()
    with secret:
        os.write(descriptor, secret.view().hex().encode() + b"\n")
    os.fsync(descriptor)
    return keypair
