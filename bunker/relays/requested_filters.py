"""The filters of a REQ: read within their bounds, and confined to what whoever asks may read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bunker.relays.event_checks import KIND
from bunker.relays.filters import Filter, FilterError, count_values, parse_filter
from bunker.relays.limits import BuiltInLimits

FILTER_BYTES, VALUE_BYTES = 1_024, 512
"""What an open subscription keeps in memory for each filter, and for each value of it, at most (measured)."""


class AuthRequired(FilterError):
    """Only a key that was not proved may read this (NIP-42, ``auth-required:``)."""


def read_filters(
    parts: Sequence[msgspec.Raw], limits: BuiltInLimits, keys: frozenset[str], *, is_auth_required: bool
) -> list[Filter]:
    """Read the filters of a REQ by a client that proved to hold ``keys`` (NIP-42). Raises FilterError."""
    if not 1 <= len(parts) <= limits.filters:
        raise FilterError(f"invalid: 1 to {limits.filters} filters are needed")
    try:
        values = [msgspec.json.decode(part) for part in parts]
    except (ValueError, RecursionError):
        raise FilterError("invalid: a filter does not parse") from None
    if count_values(values) > limits.filter_values_per_connection:
        raise FilterError("rate-limited: too many values in the filters of this connection")
    filters = [parse_filter(value, limits) for value in values]
    if not all(item.is_narrow for item in filters):
        raise FilterError("restricted: name #p, authors or ids in every filter")
    for item in filters:
        confine(item, keys, is_auth_required=is_auth_required)
    return filters


def confine(wanted: Filter, keys: frozenset[str], *, is_auth_required: bool) -> None:
    """Leave of a filter what may be read with ``keys``. Raises AuthRequired, or FilterError for a key not proved.

    Who asks for a recipient has to know the client's key, and who asks for an id the event. A filter that names
    authors alone would show a signer's traffic to anybody who knows its public key, which is no secret: it is
    confined to events to ``keys``, unless the authors are ``keys`` themselves.
    """
    if wanted.kinds is not None and KIND not in wanted.kinds:
        return
    if wanted.recipients is not None:
        if is_auth_required and not wanted.recipients <= keys:
            if keys:
                raise FilterError("restricted: #p names a key that this connection has not authenticated with")
            raise AuthRequired("auth-required: authenticate with the key that #p names")
    elif wanted.ids is None or is_auth_required:
        if not keys:
            raise AuthRequired("auth-required: name #p, or authenticate with the key that events are for")
        if wanted.authors is None or not wanted.authors <= keys:
            wanted.recipients = keys


def bytes_of(filters: Sequence[Filter]) -> int:
    """What an open subscription with ``filters`` keeps in memory, in bytes: an upper estimate."""
    return sum(
        FILTER_BYTES + VALUE_BYTES * item.value_count + sum(len(value) for tag in item.tags.values() for value in tag)
        for item in filters
    )
