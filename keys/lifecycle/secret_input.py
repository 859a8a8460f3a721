"""A secret key as a person gives it: nsec, 64 hex digits, or ncryptsec with its password (NIP-19, NIP-49)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.conf import settings

from keycast.crypto.secret import SecretBytes
from keycast.crypto.secret_fields import DIGITS
from keycast.nostr import nip19, nip49
from keys.errors import PasswordRefused, PublishedKeyRefused, ScryptTooCostly, SecretRefused, TooBusy
from keys.lifecycle import password_child
from keys.lifecycle.published import is_refused
from keys.signing.factory import key_maker

MAX_INPUT: Final = 1000
_SECRET_SIZE: Final = 32
_ENCRYPTED: Final = "ncryptsec1"
_SPACES: Final = b" \t\r\n\v\f"
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


def parse_typed_secret(typed: SecretBytes, password: SecretBytes | None, *, person: UUID) -> SecretBytes:
    """The same of a form's fields in buffers (keycast.crypto.secret_fields), which stay the caller's to wipe.

    No text is made of an nsec or of 64 hex digits. An ncryptsec and its password become text, which stays in memory
    until something else takes its place: scrypt and NIP-49's password normalisation take nothing else.
    """
    with typed.view() as whole, _stripped(whole) as text:
        if len(text) > MAX_INPUT:
            raise SecretRefused
        if _is_encrypted(text):
            said = _text(password.view()) if password else None
            return parse_secret_of_person(_text(text), said, person=person)
        return _checked(_decoded_buffer(text))


def _decoded_buffer(text: memoryview) -> SecretBytes:
    if len(text) == 2 * _SECRET_SIZE and all(byte in DIGITS for byte in text):
        secret = SecretBytes.zero(_SECRET_SIZE)
        with secret.view() as output:
            for position in range(_SECRET_SIZE):
                output[position] = DIGITS[text[2 * position]] << 4 | DIGITS[text[2 * position + 1]]
        return secret
    try:
        return nip19.decode_nsec_buffer(text)
    except nip19.Nip19Error:
        raise SecretRefused from None


def _is_encrypted(text: memoryview) -> bool:
    return len(text) > 2 * _SECRET_SIZE and bytes(text[: len(_ENCRYPTED)]).lower() == _ENCRYPTED.encode()


def _stripped(text: memoryview) -> memoryview:
    start, end = 0, len(text)
    while start < end and text[start] in _SPACES:
        start += 1
    while end > start and text[end - 1] in _SPACES:
        end -= 1
    return text[start:end]


def _text(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise SecretRefused from None


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
    if text[: len(_ENCRYPTED)].lower() == _ENCRYPTED:
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
