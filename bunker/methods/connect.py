"""``connect``: the first message of an app, with the bunker URL's secret (NIP-46)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from uuid import UUID

from bunker import services
from bunker.methods.base import BadParameters, ConnectionMethod, RequestContext, require
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method


class Connect(ConnectionMethod):
    """``[remote signer's public key, secret, requested permissions, metadata]``; the last three may be left out.

    The client may ask for less than the owner granted, never for more; what it says of itself is for display only.
    """

    __slots__ = ("_client", "_metadata", "_permissions", "_secret", "_transport_id", "connection_id")
    name = Nip46Method.CONNECT.value
    tag = AuditTag.CONNECT

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        require(params, 1)
        if not hmac.compare_digest(params[0].encode(), subject.signer_public_key.encode()):
            raise BadParameters("This connect request is for another remote signer.")
        given = [*params[1:4], "", "", ""]
        self._secret, self._permissions, self._metadata = given[0], given[1], given[2]
        self._client = subject.client
        self._transport_id = subject.transport_id
        self.connection_id: UUID | None = None

    def run(self) -> str:
        """Bind the waiting connection to this client, or find that it holds one. Raises PairingRefused."""
        bound = services.bind_connection(
            transport_id=self._transport_id,
            client_public_key=self._client,
            secret=self._secret,
            metadata=self._metadata,
            requested_permissions=self._permissions,
        )
        self.connection_id = bound.connection_id
        return "ack"
