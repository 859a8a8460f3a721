"""What an entry of the lists of checks is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the product. ``code`` occurs once in ``path``; ``without`` is what stands there once it is gone.

    ``tests`` are paths, or a test's id in one: only those that are to notice, so that a run takes minutes.
    """

    name: str
    threat: str
    path: str
    code: str
    without: str
    tests: tuple[str, ...]
