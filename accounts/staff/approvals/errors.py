"""What the two-person rule refuses with."""

from __future__ import annotations

from accounts.errors import Conflict
from keycast.base.errors import NotPermitted


class ApprovalRequired(NotPermitted):
    """Staff tried to do alone what needs a second person."""

    code = "approval-required"
    public_message = "This needs a second person's approval. Ask for it first."


class OwnApprovalRequest(NotPermitted):
    """Somebody tried to decide on their own request."""

    code = "own-request"
    public_message = "You asked for this yourself. Another person has to decide; you can withdraw it."


class AlreadyRequested(Conflict):
    """The very same thing is asked for, and nobody has decided yet."""

    code = "asked-already"
    public_message = "This has been asked for already and waits for a decision."


class AlreadyDecided(Conflict):
    """Somebody decided before, or the time is over: the first decision stands."""

    code = "decided"
    public_message = "This request is closed."
