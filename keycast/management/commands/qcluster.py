"""django-q2's job cluster, with our refusal to start unsafe, and ending with the process that started it."""

from __future__ import annotations

from typing import Any

from django_q.management.commands.qcluster import Command as ClusterCommand

from keycast.children import end_with_parent
from keycast.startup import refuse_unsafe_start


class Command(ClusterCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        end_with_parent()
        refuse_unsafe_start()
        super().handle(*args, **options)
