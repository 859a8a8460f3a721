"""Argon2 with a bound: each hash takes some 100 MiB, so only a few are made at once, and others wait their turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Final

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.errors import TooManySignIns

WAIT_SECONDS: Final = 10.0
_places: Final = BoundedSemaphore(settings.HASHES_AT_ONCE)


@contextmanager
def place() -> Iterator[None]:
    """One of the places in this process. Raises TooManySignIns when none comes free in time."""
    if not _places.acquire(timeout=WAIT_SECONDS):
        raise TooManySignIns
    try:
        yield
    finally:
        _places.release()


class BoundedArgon2Hasher(Argon2PasswordHasher):
    """Django's Argon2 hasher, in a place."""

    def encode(self, password: str, salt: str) -> str:
        with place():
            return str(super().encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        with place():
            return bool(super().verify(password, encoded))
