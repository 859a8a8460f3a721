"""Sessions in the database that are worth nothing to whoever reads the database.

A row is found by the SHA-256 of the session key in the cookie, and its content (which passes through login codes and
TOTP secrets being set up) is sealed, bound to that row.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from accounts.sealing import SealBroken, open_text, seal_text

_PURPOSE = "session"


def row_key(session_key: str) -> str:
    """Under which key a session is stored: 40 hex digits, as many as the column holds."""
    return hashlib.sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class SessionStore(db.SessionStore):
    """Django's database sessions, keyed by hash and sealed."""

    def encode(self, session_dict: dict[str, Any]) -> str:
        return seal_text(json.dumps(session_dict, separators=(",", ":")), _PURPOSE, row_key(self._key()))

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """The session's content; an empty one if it cannot be opened."""
        try:
            content: dict[str, Any] = json.loads(open_text(str(session_data), _PURPOSE, row_key(self._key())))
        except (SealBroken, ValueError):
            return {}
        return content

    def _key(self) -> str:
        return self.session_key or ""

    def _get_session_from_db(self) -> Session | None:
        row = self._rows(self._key()).filter(expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    async def _aget_session_from_db(self) -> Session | None:
        row = await self._rows(self._key()).filter(expire_date__gt=timezone.now()).afirst()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return self._rows(session_key).exists()

    async def aexists(self, session_key: str) -> bool:
        return await self._rows(session_key).aexists()

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        key = row_key(self._get_or_create_session_key())  # type: ignore[attr-defined]
        return Session(session_key=key, session_data=self.encode(data), expire_date=self.get_expiry_date())

    async def acreate_model_instance(self, data: dict[str, Any]) -> Session:
        key = row_key(await self._aget_or_create_session_key())  # type: ignore[attr-defined]
        return Session(session_key=key, session_data=self.encode(data), expire_date=await self.aget_expiry_date())

    def delete(self, session_key: str | None = None) -> None:
        if session_key or self.session_key:
            self._rows(session_key or self._key()).delete()

    async def adelete(self, session_key: str | None = None) -> None:
        if session_key or self.session_key:
            await self._rows(session_key or self._key()).adelete()

    def _rows(self, session_key: str) -> QuerySet[Session]:
        return Session.objects.filter(session_key=row_key(session_key))
