"""Where the jobs were until 0.1: schedules and queued jobs of an installed database still name them by this path.

To be removed after 0.2; keycast.operations.jobs rewrites schedules when the job cluster starts.
"""

from __future__ import annotations

from keycast.operations.jobs import (
    carry_endings,
    check_host_names,
    close_overdue_approvals,
    close_unused_bunker_urls,
    forget_ended_sessions,
    forget_old_requests,
    forget_old_runs,
    heartbeat,
    retire_replaced_signers,
    sum_up_figures,
    verify_audit_log,
)

__all__ = [
    "carry_endings",
    "check_host_names",
    "close_overdue_approvals",
    "close_unused_bunker_urls",
    "forget_ended_sessions",
    "forget_old_requests",
    "forget_old_runs",
    "heartbeat",
    "retire_replaced_signers",
    "sum_up_figures",
    "verify_audit_log",
]
