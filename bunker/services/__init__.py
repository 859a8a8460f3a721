"""Verbs on connections: keyword-only, atomic, the audit row and the workers' hint in the same transaction."""

from bunker.services.issue import IssuedUrl, approve_nostrconnect, create_bunker_url
from bunker.services.lifecycle import (
    lock_connection,
    logout_connection,
    rename_connection,
    revoke_connection,
    unlock_connection,
)
from bunker.services.pairing import Bound, bind_connection, lapse_unused_secrets
from bunker.services.relay_urls import built_in_relay_url, relays_for

__all__ = [
    "Bound",
    "IssuedUrl",
    "approve_nostrconnect",
    "bind_connection",
    "built_in_relay_url",
    "create_bunker_url",
    "lapse_unused_secrets",
    "lock_connection",
    "logout_connection",
    "relays_for",
    "rename_connection",
    "revoke_connection",
    "unlock_connection",
]
