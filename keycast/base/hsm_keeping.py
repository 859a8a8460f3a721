"""Whether this process may make, disable and destroy keys in HSMs.

Jobs and operators' commands may. A process that serves the network gives it up as it starts, for good: a bug in it, or
who has taken it over, finds no client that could do more than sign.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

CREDENTIALS: Final = ("KEYCAST_GCP_KEEPER_CREDENTIALS",)
"""Variables that lead to credentials of keepers. A server leaves them to its job cluster, if that is a child."""

_given_up: list[bool] = []


def is_allowed() -> bool:
    return not _given_up


def give_up() -> None:
    """From now on this process keeps no HSM keys, and does not know where the credentials for it are."""
    _given_up[:] = [True]
    for name in CREDENTIALS:
        setattr(settings, name.removeprefix("KEYCAST_"), "")
