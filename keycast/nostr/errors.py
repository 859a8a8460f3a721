"""What every module of the protocol raises when a text or value is not what it should be."""

from __future__ import annotations


class NostrError(ValueError):
    """Base of the errors of ``keycast.nostr``: constant text, never a piece of the input."""
