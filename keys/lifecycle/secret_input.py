"""A secret key as a person gives it: nsec, 64 hex digits, or ncryptsec with its password (NIP-19, NIP-49)."""

from __future__ import annotations

import re
from typing import Final

from django.conf import settings

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19, nip49
from keys.errors import PasswordRefused, PublishedKeyRefused, ScryptTooCostly, SecretRefused, TooBusy
from keys.lifecycle.published import is_refused
from keys.signing.factory import key_maker

MAX_INPUT: Final = 1000
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_NIP49_ERRORS: Final[dict[str, type[SecretRefused | TooBusy]]] = {
    "too-costly": ScryptTooCostly,
    "wrong-password": PasswordRefused,
    "busy": TooBusy,
}


def parse_secret_input(text: str, password: str | None = None) -> SecretBytes:
    """The 32-byte secret that ``text`` says; the caller wipes it. No error repeats any of the text.

    An ncryptsec may take seconds: call from a thread. Its scrypt cost is bounded by ``NIP49_MAX_LOG_N`` before any of
    it is spent. Raises SecretRefused (PublishedKeyRefused outside DEBUG and tests, PasswordRefused,
    ScryptTooCostly), TooBusy.
    """
    secret = _decoded(text.strip(), password)
    try:
        check_secret(secret)
    except SecretRefused:
        secret.wipe()
        raise
    return secret


def check_secret(secret: SecretBytes) -> str:
    """The public key (64 hex digits) of a secret that may be kept. Raises SecretRefused, PublishedKeyRefused."""
    public_key = key_maker().public_key_of(secret)
    if is_refused(public_key):
        raise PublishedKeyRefused
    return public_key


def _decoded(text: str, password: str | None) -> SecretBytes:
    if len(text) > MAX_INPUT:
        raise SecretRefused
    if _HEX.fullmatch(text):
        return SecretBytes.adopt_bytes(bytes.fromhex(text))
    if text[:10].lower() == "ncryptsec1":
        return _decrypted(text, password)
    try:
        return nip19.decode_nsec(text)
    except nip19.Nip19Error:
        raise SecretRefused from None


def _decrypted(text: str, password: str | None) -> SecretBytes:
    if not password:
        raise PasswordRefused("An ncryptsec needs its password.")
    try:
        return nip49.decrypt(text, password, settings.NIP49_MAX_LOG_N)
    except nip49.Nip49Error as error:
        raise _NIP49_ERRORS.get(error.code, SecretRefused) from None
