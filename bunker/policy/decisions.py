"""What a policy can answer. Types, not booleans, so that a forgotten case cannot read as yes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may go ahead; ``reason`` names the rule that said so."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deny:
    """The call is refused; ``reason`` is a plain sentence for the app's user."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The owner must decide; ``reason`` says about what."""

    reason: str


Decision = Allow | Deny | Ask
