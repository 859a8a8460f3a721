"""Every bound of this package in one place. Sizes in bytes, times in seconds, rates per second."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from keycast.base.limits import overridden


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds that hold for events from every relay, built in or outbound."""

    frame_bytes: int = 1024 * 1024
    """An event of 512 KiB that is to be signed, as the text of a request, encrypted: base64 and padding add a half."""
    freshness: int = 300
    seen_ids: int = 65_536
    seen_seconds: int = 660
    """Longer than an event can be fresh (600 s in all): by the time an id is forgotten, its replay is stale."""
    verifications: int = 6_000
    """Signature checks a second for all relays together; at some 45 us each this bounds a flood to part of a core."""
    relay_verifications: int = 1_500


@dataclass(frozen=True, slots=True)
class BuiltInLimits:
    """Bounds of the built-in relay. ``KEYCAST_RELAY_LIMITS`` overrides single ones, e.g. ``connections=5000``."""

    connections: int = 2_000
    connections_per_ip: int = 300
    subscriptions: int = 500
    """Some clients open one for each request, and close none."""
    filters: int = 10
    request_bytes: int = 16 * 1024
    """Of a message that is no EVENT."""
    filter_values: int = 200
    """Of one condition: as many keys as fit into one REQ."""
    tag_conditions: int = 2
    """Of one filter, on tags other than ``p``: no client of NIP-46 needs any."""
    tag_values: int = 20
    tag_value_chars: int = 128
    filter_values_per_connection: int = 5_000
    """Of all its subscriptions together: what they cost is kept while they are open."""
    filter_values_per_ip: int = 50_000
    """Of all connections from one address together."""
    subscription_bytes_per_ip: int = 32 * 1024 * 1024
    """Memory that the open subscriptions from one address take (requested_filters.bytes_of)."""
    subscription_bytes: int = 128 * 1024 * 1024
    """The same of all addresses together, beyond what each connection has in any case."""
    subscription_bytes_free: int = 16 * 1024
    """What each connection has in any case: some ten subscriptions with a key each."""
    auth_keys: int = 20
    """Keys that one connection may prove to hold (NIP-42)."""
    subscription_id_chars: int = 64
    events_per_second: int = 1_000
    frames_per_second: int = 2_000
    verifications_per_ip: int = 4_000
    work_per_ip: int = 10_000
    """Units of some 20 us (work.UNIT_*) for all connections from one address: a fifth of a core."""
    work_of_strangers: int = 2_500
    """Units for all connections together that the worker has not answered yet: a twentieth of a core."""
    work_per_stranger: int = 20
    """Units that an address has beside them, four times as many at once: a newcomer pairs whatever others do."""
    incoming_bytes_per_ip: int = 16 * 1024 * 1024
    """Of unfinished messages, beyond ``request_bytes`` each, of connections that the worker has not answered yet."""
    incoming_bytes: int = 64 * 1024 * 1024
    """The same of all addresses together; those that it has answered have as much, one tenant half of it."""
    message_seconds: int = 60
    """From the first byte of a message to its last."""
    unread_bytes_per_ip: int = 16 * 1024 * 1024
    """Of what waits for clients that read slowly, beyond 64 KiB each."""
    unread_bytes: int = 128 * 1024 * 1024
    queue_frames: int = 4_096
    """An inbox of 1,000 messages, decrypted at once, is 2,000 frames."""
    queue_bytes: int = 2 * 1024 * 1024
    idle_seconds: int = 600
    """A connection without a subscription is closed after this long without a frame."""
    memory_seconds: int = 60
    memory_events: int = 20_000
    memory_bytes: int = 32 * 1024 * 1024
    stored_per_request: int = 500
    candidates_per_request: int = 1_000
    """Remembered replies that one REQ has compared with its filters, the newest first."""
    delivered_ids: int = 2_000
    """Ids of events that one connection was sent, so that a further subscription of it does not bring them again."""
    backlog_events: int = 1_000
    backlog_bytes: int = 16 * 1024 * 1024
    """Of both a tenant has three quarters at most."""
    reply_window: float = 0.003
    """How long an OK may wait for the reply, so that both leave in one write."""

    @classmethod
    def from_settings(cls) -> BuiltInLimits:
        """Read overrides from settings. Raises ImproperlyConfigured for a name or a number that is none."""
        return overridden(cls(), settings.RELAY_LIMITS, "KEYCAST_RELAY_LIMITS", zero=("reply_window",))


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """Bounds of one outbound relay connection."""

    open_timeout: float = 10.0
    close_timeout: float = 3.0
    send_timeout: float = 10.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    tokens_per_second: int = 2_000
    """A frame costs one token per started 2 KiB; a relay that sends faster is read more slowly, not buffered."""
    token_bytes: int = 2_048
    pings_per_second: int = 20
    write_buffer_bytes: int = 1024 * 1024
    fragments: int = 256
    strikes: int = 100
    """Unasked, malformed or forged frames on one connection (leaking one a second) before it is dropped."""
    surplus_per_second: int = 50
    """Events of our kind for somebody else that are borne (twenty times as many at once): some relays ignore #p."""
    backoff_first: float = 1.0
    backoff_most: float = 120.0
    penalty_first: float = 60.0
    penalty_most: float = 3_600.0
    stable_after: float = 60.0
    keys_per_filter: int = 200
    subscriptions: int = 8
    since_overlap: int = 300
    """How far back a subscription asks: as far as an event is fresh, because clients' clocks differ."""
    pending: int = 1_000
    ok_timeout: float = 10.0
    tries: int = 3
    auth_keys: int = 20
    auth_interval: float = 5.0
    event_bytes: int = 65_536
    """What common relays take (strfry: maxEventSize 65536)."""
    relays: int = 50
