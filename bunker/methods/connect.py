"""``connect``: the first message of an app, with the bunker URL's secret (NIP-46)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bunker import services
from bunker.methods.base import BadParameters, ConnectionMethod, RequestContext
from keycast.audit.tags import AuditTag
from keycast.nostr.nip46 import Nip46Method
from keycast.nostr.types import is_hex

ACK = "ack"


class Connect(ConnectionMethod):
    """``[whom it is for, secret, requested permissions, metadata]``; all but the first may be left out.

    The event's p tag, and the key that its content is encrypted for, have said who is meant already. Clients put the
    signer's key there, the user's, their own, or what is no key at all; only a key of somebody else is a mistake to
    tell them of. The client may ask for less than the owner granted, never for more; what it says of itself is for
    display only.
    """

    __slots__ = ("_client", "_metadata", "_permissions", "_secret", "_transport_id", "connection_id")
    name = Nip46Method.CONNECT.value
    tag = AuditTag.CONNECT

    def __init__(self, params: Sequence[str], subject: RequestContext) -> None:
        named = params[0] if params else ""
        known = (subject.signer_public_key, subject.key.public_key, subject.client)
        if is_hex(named.lower(), 32) and named.lower() not in known:
            raise BadParameters("This connect request is for another remote signer.")
        given = [*params[1:4], "", "", ""]
        self._secret, self._permissions, self._metadata = given[0], given[1], given[2]
        if self._permissions.startswith("{"):  # no permission begins like that: some send metadata in third place
            self._permissions, self._metadata = "", self._metadata or self._permissions
        self._client = subject.client
        self._transport_id = subject.transport_id
        self.connection_id: UUID | None = None

    @property
    def secret(self) -> str:
        """What the client shows; empty when it shows none."""
        return self._secret

    def has_waiting_secret(self) -> bool:
        """Whether a bunker URL with this secret waits for its client, by the database (one query)."""
        return services.is_secret_waiting(transport_id=self._transport_id, secret=self._secret)

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
        return ACK
