"""Mail: the one way out. Services put a mail into the outbox with what they change; jobs send it (docs/operations.md).

``send_later`` is for everybody; ``transport.send_now`` for the watchdog alone, which reports that jobs do not run.
"""

from accounts.mail.outbox import send_later

__all__ = ["send_later"]
