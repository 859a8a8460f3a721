"""Secrets that are looked for afterwards: every way in which one could be written down (threats L1)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Iterator

from django.db import connection

from keycast.base import logging as keycast_logging
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19

WINDOW = 8
"""Bytes in a row that are already too many."""


class Canary:
    """One secret, and what it would look like: as bytes, hex, base64, base64url, JSON, nsec, and any 8 bytes of it."""

    def __init__(self, name: str, secret: bytes, *, is_key: bool = False) -> None:
        self.name = name
        windows = [secret[start : start + WINDOW] for start in range(len(secret) - WINDOW + 1)]
        self._exact = {*windows, *self._base64(secret)}
        self._any_case = {window.hex().encode() for window in windows}
        self._any_case |= {repr(window)[2:-1].lower().encode() for window in windows}
        if is_key:
            nsec = nip19.encode_nsec(SecretBytes(secret)).encode()
            self._any_case |= {nsec, nsec[:24], nsec[-24:], repr(list(secret)).encode(), repr(secret).lower().encode()}

    @staticmethod
    def _base64(secret: bytes) -> Iterator[bytes]:
        """What base64 makes of the middle of the secret, wherever in a longer text it begins."""
        for shift in range(3):
            text = base64.b64encode(bytes(shift) + secret)[4 if shift else 0 :].rstrip(b"=")[:-2]
            for start in range(0, len(text) - 15, 4):
                yield text[start : start + 16]
                yield text[start : start + 16].replace(b"+", b"-").replace(b"/", b"_")

    def is_in(self, content: bytes) -> bool:
        lowered = content.lower().replace(b"\\\\", b"\\")
        return any(form in content for form in self._exact) or any(form in lowered for form in self._any_case)


class Search:
    """Where to look, what for, and what was found."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self.canaries = list(canaries)
        self.found: list[str] = []

    def look(self, place: str, content: bytes | str | memoryview) -> None:
        data = content.encode("utf-8", "replace") if isinstance(content, str) else bytes(content)
        self.found += [f"{canary.name} in {place}" for canary in self.canaries if canary.is_in(data)]

    def look_through_the_database(self) -> None:
        """Every column of every row, as text and as bytes, and as hex where a text column holds bytes."""
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f'SELECT * FROM "{table}"')
                names = [column[0] for column in cursor.description or ()]
                for row in cursor.fetchall():
                    for name, value in zip(names, row, strict=True):
                        if value is not None:
                            content = value if isinstance(value, bytes | memoryview) else str(value)
                            self.look(f"{table}.{name}", content)


class Lines(logging.Handler):
    """Every line of every logger, as production writes it (JSON) and as a developer sees it, at the lowest level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []
        self._formatters = [keycast_logging.formatter(json_lines=True), keycast_logging.formatter(json_lines=False)]

    def emit(self, record: logging.LogRecord) -> None:
        self.text += [formatter.format(record) for formatter in self._formatters]
