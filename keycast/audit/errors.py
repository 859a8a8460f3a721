"""What auditing can refuse with."""

from __future__ import annotations

from keycast.base.errors import KeycastError, Unavailable


class AuditUnavailable(Unavailable):
    """The audit row could not be written, so whatever it was to record must not happen (threats A1)."""

    code = "audit-unavailable"
    public_message = "This cannot be recorded right now, so it was not done. Please try again in a moment."


class DatabaseOutdated(AuditUnavailable):
    """This database lacks what happened after it was dumped: nothing is done with it until that is made good."""

    code = "database-older"
    public_message = (
        "This server's database was restored from a backup and has not been brought up to date. "
        "Its operators have to run: manage.py after_restore"
    )


class ChainBroken(KeycastError):
    """A chain was changed, so nothing is signed about it; ``sequence`` is its first bad row."""

    code = "audit-chain-broken"

    def __init__(self, chain: str, sequence: int) -> None:
        super().__init__(f"Row {sequence} of the audit chain {chain} is not as it was written.")
        self.chain, self.sequence = chain, sequence


class NoCheckpointKey(KeycastError):
    """This needs a signature, and this process has no key for it."""

    code = "no-checkpoint-key"
    public_message = "This server has no key for checkpoints (KEYCAST_AUDIT_CHECKPOINT_KEY)."


class VerificationRunning(KeycastError):
    """The same verification is under way already."""

    code = "verification-running"
    public_message = "This is being verified already. The result will be on this page."
    http_status = 409


class RetentionTooShort(KeycastError):
    """A tenant may keep its rows longer than the platform, never shorter."""

    code = "retention-too-short"
    public_message = "Rows are kept at least as long as the platform keeps them (KEYCAST_AUDIT_RETENTION_DAYS)."


class ExportTooLarge(KeycastError):
    """More rows than a browser may take out at once."""

    code = "export-too-large"
