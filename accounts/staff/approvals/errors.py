"""What the two-person rule refuses with."""

from __future__ import annotations

from keycast.base.errors import NotPermitted


class ApprovalRequired(NotPermitted):
    """Staff tried to do alone what needs a second person."""

    code = "approval-required"
    public_message = "This needs a second person's approval. Ask for it first."
