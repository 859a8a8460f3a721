"""``logout``: the app ends its own access (NIP-46)."""

from __future__ import annotations

from collections.abc import Sequence

from bunker import services
from bunker.methods.base import ConnectionMethod, RequestContext, UnknownMethod
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method


class Logout(ConnectionMethod):
    """Ends the connection that this client holds, nobody else's; a repeated logout is confirmed again."""

    __slots__ = ("_client", "_connection_id")
    name = Nip46Method.LOGOUT.value
    tag = AuditTag.LOGOUT

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        if subject.connection_id is None:
            raise UnknownMethod
        self._connection_id = subject.connection_id
        self._client = subject.client

    def run(self) -> str:
        """Log the client out."""
        services.logout_connection(connection_id=self._connection_id, client_public_key=self._client)
        return "ack"
