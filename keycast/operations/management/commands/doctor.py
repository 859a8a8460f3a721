"""Look at everything this installation needs, and say what to fix. Exit code 0: all in order; 1: something is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keycast.operations.health import HealthFinding


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []  # it reports what the checks would stop at

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="One JSON object instead of lines.")

    def handle(self, *args: Any, as_json: bool, **options: Any) -> None:
        from keycast.operations.doctor import examine  # noqa: PLC0415  (needs models, and those the app registry)

        findings = examine()
        is_healthy = all(finding.is_ok for finding in findings)
        if as_json:
            self.stdout.write(json.dumps({"healthy": is_healthy, "findings": [asdict(each) for each in findings]}))
        else:
            for finding in findings:
                self._say(finding)
        if not is_healthy:
            raise SystemExit(1)

    def _say(self, finding: HealthFinding) -> None:
        mark = self.style.SUCCESS("ok  ") if finding.is_ok else self.style.ERROR("FAIL")
        self.stdout.write(f"{mark}  {finding.name:<12} {finding.detail}")
        if not finding.is_ok and finding.fix:
            self.stdout.write(f"                   -> {finding.fix}")
