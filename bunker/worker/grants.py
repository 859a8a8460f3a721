"""Who asks, as the snapshot has it now: rows may have been read again while a request waited."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bunker.methods import RequestContext
from bunker.worker.admission import IncomingRequest
from bunker.worker.records import ConnectionRecord, SignerRecord
from bunker.worker.snapshot import Snapshot

ENDED = "This app's access has ended."

OfferedRelays = Callable[[SignerRecord, ConnectionRecord], list[str] | None]


class Grants:
    """Looks them up. ``offered_relays`` says which relays a connection should use from now on (None: no change)."""

    def __init__(self, snapshot: Snapshot, offered_relays: OfferedRelays) -> None:
        self._snapshot = snapshot
        self._offered_relays = offered_relays

    def subject(self, item: IncomingRequest, connection: ConnectionRecord | None) -> RequestContext:
        """What a method learns about the caller."""
        signer = item.signer
        return RequestContext(
            signer.key,
            item.event.pubkey,
            transport_id=signer.transport.transport_id,
            signer_public_key=signer.public_key,
            connection_id=None if connection is None else connection.id,
            uses=0 if connection is None else connection.uses,
            relays=() if connection is None else connection.relays,
            offered_relays=None if connection is None else partial(self._offered_relays, signer, connection),
        )

    def of_client(self, item: IncomingRequest, connection: ConnectionRecord) -> ConnectionRecord:
        """The client's grant, whichever it holds by now; ``connection``, marked as over, when it holds none.

        Its use count lives in one record only, so a request must never count on the record that it came in with (C12).
        """
        signer = self._snapshot.signers.get(item.signer.public_key)
        found = None if signer is None else signer.clients.get(item.event.pubkey)
        if signer is None or found is None:
            connection.refusal = connection.refusal or ENDED
            return connection
        item.signer, item.connection = signer, found
        return found

    def same(self, item: IncomingRequest, connection: ConnectionRecord) -> ConnectionRecord:
        """The same connection; the old record, marked as over, when it is gone or replaced by another."""
        signer = self._snapshot.signers.get(item.signer.public_key)
        found = None if signer is None else signer.clients.get(connection.client)
        if signer is None or found is None or found.id != connection.id:
            connection.refusal = connection.refusal or ENDED
            return connection
        item.signer = signer
        return found

    def refresh(self, item: IncomingRequest) -> None:
        """Give ``item`` the records that were read since it came in: pairing makes a connection of a stranger."""
        item.signer = self._snapshot.signers.get(item.signer.public_key, item.signer)
        item.connection = item.signer.clients.get(item.event.pubkey)
