"""django-q2's job cluster, with our schedules, our refusal to start unsafe, and ending with whoever started it."""

from __future__ import annotations

from typing import Any

from django_q.management.commands.qcluster import Command as ClusterCommand

from keycast.base.child_processes import end_with_parent
from keycast.base.hardening import harden
from keycast.operations.startup import refuse_unsafe_start


class Command(ClusterCommand):  # type: ignore[misc]  # django-q2 has no types
    def handle(self, *args: Any, **options: Any) -> None:
        from keycast.operations import job_cluster, jobs  # noqa: PLC0415  (imports what jobs need, only when jobs run)

        harden(locks_memory=False)
        end_with_parent()
        refuse_unsafe_start()
        jobs.register_schedules()
        job_cluster.install()
        super().handle(*args, **options)
