"""What auditing can refuse with."""

from __future__ import annotations

from keycast.errors import Unavailable


class AuditUnavailable(Unavailable):
    """The audit row could not be written, so whatever it was to record must not happen (threats A1)."""

    code = "audit-unavailable"
    public_message = "This cannot be recorded right now, so it was not done. Please try again in a moment."
