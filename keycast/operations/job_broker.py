"""django-q2's queue in the database, without its cache, and with a note of what could not be read."""

from __future__ import annotations

from typing import Any, Final

from django_q.brokers.orm import ORM

from keycast.operations import job_records

UNREADABLE: Final = "(unreadable)"


class JobBroker(ORM):  # type: ignore[misc]  # django-q2 has no types
    """Settings.Q_CLUSTER names it."""

    @staticmethod
    def get_cache() -> None:
        """None: without one, nothing is stored about the cluster, and no result."""

    def fail(self, task_id: Any) -> None:
        """Called for a row that is no package of ours: it is refused for good."""
        job_records.refuse(UNREADABLE, "A row of the queue is not signed by this deployment, and was removed.")
        super().fail(task_id)
