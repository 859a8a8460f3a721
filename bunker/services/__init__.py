"""Services on connections: keyword-only, atomic, the audit row and the workers' hint in the same transaction."""

from bunker.services.issue import IssuedUrl, approve_nostrconnect, create_bunker_url, is_secret_of
from bunker.services.lifecycle import (
    lift_narrowing,
    lock_connection,
    logout_connection,
    rename_connection,
    revoke_connection,
    set_request_rate,
    unlock_connection,
)
from bunker.services.pairing import PairedConnection, bind_connection, is_secret_waiting, lapse_unused_secrets
from bunker.services.relay_urls import built_in_relay_url, relays_for, usable_relays
from bunker.services.tenants import checked_relays, default_policy_of, policies_of

__all__ = [
    "IssuedUrl",
    "PairedConnection",
    "approve_nostrconnect",
    "bind_connection",
    "built_in_relay_url",
    "checked_relays",
    "create_bunker_url",
    "default_policy_of",
    "is_secret_of",
    "is_secret_waiting",
    "lapse_unused_secrets",
    "lift_narrowing",
    "lock_connection",
    "logout_connection",
    "policies_of",
    "relays_for",
    "rename_connection",
    "revoke_connection",
    "set_request_rate",
    "unlock_connection",
    "usable_relays",
]
