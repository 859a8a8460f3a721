"""Gives a whole key out under a password (NIP-49): the one way on which a person's secret leaves the signer, sealed.

It is opened here, beside the key-encryption key, and sealed here; the child that runs scrypt gets the password alone.
Whether it may leave is decided above (keys.exporting), but for what this process can know by itself: that the
deployment allows it, what kind of key it is, and how many left within an hour.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Final

from django.conf import settings

from keycast.nostr import nip49
from keys.errors import ExportsAreOff, InvalidOperand, NoCapability, TooBusy, TooManyExports
from keys.refs import KeyRef
from keys.signing import local
from keys.signing.isolated import access
from keys.signing.kms import registry
from keys.signing.scrypt_child import derive_apart
from keys.signing.vault import opened

LOG_N: Final = 16
"""64 MiB and some tenths of a second: what clients open by default. Nobody who asks can have it otherwise."""
HOUR: Final = 3600.0
_left: deque[float] = deque()


def export(key: KeyRef, password: str) -> str:
    """``ncryptsec1...`` of an encrypted key. Blocks for up to seconds: call it from a thread.

    Raises ExportsAreOff, NoCapability, TooManyExports, InvalidOperand, KeyDamaged, KekUnavailable, TooBusy.
    """
    if registry.is_elsewhere():
        return access.export(key, password)
    return export_here(key, password)


def export_here(key: KeyRef, password: str) -> str:
    """The same, in this process."""
    if not settings.KEY_EXPORT:
        raise ExportsAreOff
    if key.key_mode != "encrypted" or key.hsm is not None or key.sealed is None:
        raise NoCapability("This kind of key cannot be exported.")
    _count(time.monotonic())
    salt = os.urandom(nip49.SALT_SIZE)
    try:
        # First the password's key, which takes long, then the secret, which is open for a moment.
        with derive_apart(password, salt, LOG_N) as wrapping:
            provider = registry.provider(key.sealed.provider)
            with opened(key.sealed, local.sealing_context_of(key), provider) as secret:
                return nip49.seal_under(wrapping, secret, salt, LOG_N)
    except nip49.Nip49Error as refused:
        raise (InvalidOperand if refused.code == "malformed" else TooBusy) from None


def _count(now: float) -> None:
    """Bounds what somebody gets who asks in our own name: a web server that was taken over, say."""
    while _left and now - _left[0] >= HOUR:
        _left.popleft()
    if len(_left) >= settings.KEY_EXPORTS_PER_HOUR:
        raise TooManyExports
    _left.append(now)
