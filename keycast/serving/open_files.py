"""Whether this process may open as many files as its limits let others open connections."""

from __future__ import annotations

import resource
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from bunker.relays.limits import BuiltInLimits
from keycast.serving.limits import ConnectionLimits

PER_REQUEST: Final = 4
"""Files of one request that is being answered: its thread's database connection, and what it reads."""
RESERVE: Final = 512
"""Files of everything else: outbound relays, the worker's database, pipes to children, logs."""


def needed(limits: ConnectionLimits) -> int:
    """How many files must be open at once when every limit is reached."""
    return limits.connections + PER_REQUEST * limits.requests + RESERVE


def limits_that_do_not_fit(limits: ConnectionLimits, relay: BuiltInLimits) -> str | None:
    """Say in one sentence what does not fit, or None."""
    if relay.connections >= limits.connections:
        return (
            f"KEYCAST_RELAY_LIMITS lets {relay.connections} websockets in, and KEYCAST_CONNECTION_LIMITS only "
            f"{limits.connections} connections in all: with every websocket open no page would be served."
        )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < needed(limits):
        return (
            f"This process may open {hard} files (ulimit -Hn) and needs {needed(limits)} for its limits. Raise it "
            f"(systemd: LimitNOFILE, containers: ulimits), or lower connections and requests of "
            f"KEYCAST_CONNECTION_LIMITS."
        )
    return None


def make_room_for_connections(limits: ConnectionLimits, relay: BuiltInLimits) -> None:
    """Raise the limit of open files to what is needed. Raises ImproperlyConfigured where the limits do not fit."""
    problem = limits_that_do_not_fit(limits, relay)
    if problem:
        raise ImproperlyConfigured(problem)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed(limits):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed(limits), hard))
