"""Print the SQL that narrows a PostgreSQL role to appending to the audit log."""

from __future__ import annotations

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

GRANTS = """\
-- Run as the owner of the tables, which is not the role that the server uses.
REVOKE ALL ON audit_auditrow, audit_auditchain FROM PUBLIC, {role};
GRANT SELECT, INSERT ON audit_auditrow TO {role};
GRANT USAGE ON SEQUENCE audit_auditrow_id_seq TO {role};
GRANT SELECT, INSERT, UPDATE ON audit_auditchain TO {role};
-- Checkpoints are added; cuts are the owner's alone (manage.py cut_audit).
REVOKE ALL ON audit_auditcheckpoint, audit_auditcut, audit_auditretention FROM PUBLIC, {role};
GRANT SELECT, INSERT, UPDATE (is_published) ON audit_auditcheckpoint TO {role};
GRANT USAGE ON SEQUENCE audit_auditcheckpoint_id_seq TO {role};
GRANT SELECT, UPDATE (is_published) ON audit_auditcut TO {role};
GRANT SELECT ON audit_auditretention TO {role};
"""


class Command(BaseCommand):
    """The triggers refuse changes from every role; grants keep the server's role from touching the triggers.

    A migration cannot know the role, hence this command: ``manage.py audit_grants ROLE | psql``.
    """

    help = "Print the grants for the PostgreSQL role that web and worker processes use (not the tables' owner)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", help="name of the role")

    def handle(self, *args: Any, **options: Any) -> None:
        role = options["role"]
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", role):
            raise CommandError("A role name has lower-case letters, digits and underscores only.", returncode=2)
        self.stdout.write(GRANTS.format(role=f'"{role}"'), ending="")
