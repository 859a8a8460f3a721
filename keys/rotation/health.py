"""What health has to say of rotations: that one stands still, or was left with failures."""

from __future__ import annotations

from typing import Final

from keycast.base.findings import HealthFinding, Severity
from keys.rotation import selectors

_PAGE: Final = "admin:keys_rotation_changelist"


def rotations() -> HealthFinding:
    """A rotation that has not come on for a while, or ended with failures and was left at that."""
    stalled = selectors.stalled()
    if stalled:
        waits = f", which waits: {stalled[0].problem}" if stalled[0].problem else ""
        detail = f"{len(stalled)} stand still for minutes: {stalled[0].kind} ({stalled[0].scope}){waits}."
        fix = "Put right what it waits for and see that the job cluster runs, or: manage.py rotations --cancel ID."
        return HealthFinding("rotations", False, detail, fix, Severity.WARNING, _PAGE, tells=True)
    failed = selectors.left_failed()
    if failed:
        detail = f"{failed[0].kind} ({failed[0].scope}) ended with {failed[0].failed} failures."
        fix = "See the report: manage.py rotations. Then run it again with --resume."
        return HealthFinding("rotations", False, detail, fix, Severity.NOTE, _PAGE)
    going = selectors.unfinished().count()
    return HealthFinding("rotations", True, f"{going} under way." if going else "None under way.", link=_PAGE)
