"""A secret key as a person gives it: nsec, 64 hex digits, or ncryptsec with its password (NIP-19, NIP-49)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.conf import settings

from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19, nip49
from keys.errors import PasswordRefused, PublishedKeyRefused, ScryptTooCostly, SecretRefused, TooBusy
from keys.lifecycle import password_child
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
    return _checked(_decoded(text.strip(), password, _opened_here))


def parse_secret_of_person(text: str, password: str | None, *, person: UUID) -> SecretBytes:
    """The same for what a person typed on a page: an ncryptsec is opened in a child process with a memory limit.

    It may cost no more than ``NIP49_WEB_LOG_N``, and a person may bring so many an hour (``NIP49_IMPORTS_PER_HOUR``),
    with wrong passwords too. Raises TooManyEncryptedKeys besides.
    """

    def opened(ncryptsec: str, password: str) -> SecretBytes:
        most = min(settings.NIP49_WEB_LOG_N, settings.NIP49_MAX_LOG_N)
        nip49.check_cost(ncryptsec, most)  # a text that cannot be opened takes no turn
        password_child.take_turn(person)
        return password_child.decrypt_apart(ncryptsec, password, most)

    return _checked(_decoded(text.strip(), password, opened))


def _checked(secret: SecretBytes) -> SecretBytes:
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


_Open = Callable[[str, str], SecretBytes]


def _decoded(text: str, password: str | None, opened: _Open) -> SecretBytes:
    if len(text) > MAX_INPUT:
        raise SecretRefused
    if _HEX.fullmatch(text):
        return SecretBytes.adopt_bytes(bytes.fromhex(text))
    if text[:10].lower() == "ncryptsec1":
        return _decrypted(text, password, opened)
    try:
        return nip19.decode_nsec(text)
    except nip19.Nip19Error:
        raise SecretRefused from None


def _opened_here(ncryptsec: str, password: str) -> SecretBytes:
    return nip49.decrypt(ncryptsec, password, settings.NIP49_MAX_LOG_N)


def _decrypted(text: str, password: str | None, opened: _Open) -> SecretBytes:
    if not password:
        raise PasswordRefused("An ncryptsec needs its password.")
    try:
        return opened(text, password)
    except nip49.Nip49Error as error:
        raise _NIP49_ERRORS.get(error.code, SecretRefused) from None
