"""All seals looked at, once a day: renewed under the present field key, and those that do not fit told to staff.

Nothing waits for this look: where a row gives power its seal is asked for then and there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.core.cache import cache
from django.db import transaction

from accounts.account_seals import ACCOUNT, EXPORT_RULE, INVITATION, MEMBERSHIP, means_of_all
from accounts.models import Invitation, Membership, Tenant, User
from accounts.row_seals import chunks, renew
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import PLATFORM, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base.findings import HealthFinding, Severity

NAMED: Final = 20
_CACHED: Final = "accounts.seals.broken"
_KEPT_SECONDS: Final = 3 * 86_400
_FIX: Final = "See the audit log, and who can write the database; manage.py seal_rows takes a row as right."


def renew_accounts() -> tuple[int, dict[str, list[str]]]:
    """Renew the seals of people: how many, and which rows do not fit theirs, by what they are."""
    users, broken = renew(User, ACCOUNT)
    places, broken_places = renew(Membership, MEMBERSHIP)
    invitations, broken_invitations = renew(Invitation, INVITATION)
    rules, broken_rules = renew(Tenant, EXPORT_RULE)
    found = {
        "accounts": [*broken, *_with_other_means(set(broken))],
        "memberships": broken_places,
        "invitations": broken_invitations,
        "rules on exports": broken_rules,
    }
    return users + places + invitations + rules, found


def _with_other_means(known: set[str]) -> Iterable[str]:
    for chunk in chunks(User):
        means = means_of_all([user.pk for user in chunk])
        yield from (str(user.pk) for user in chunk if str(user.pk) not in known and user.means != means[user.pk])


def tell(broken: Mapping[str, list[str]]) -> None:
    """Keep for staff what does not fit: a row in the log if there is any, and what ``seals`` says."""
    counts = {what: len(rows) for what, rows in broken.items() if rows}
    cache.set(_CACHED, counts, _KEPT_SECONDS)
    if not counts:
        return
    data: dict[str, Any] = {"counts": counts, "rows": [row for rows in broken.values() for row in rows][:NAMED]}
    with transaction.atomic():
        record(AuditEntry(PLATFORM, AuditTag.SEALS_BROKEN, AuditOutcome.FAILED, Actor.system("jobs"), data=data))


def seals() -> HealthFinding | None:
    """Every row that makes somebody a person fits its seal, as of the last daily look."""
    counts = cache.get(_CACHED)
    if not isinstance(counts, dict) or not counts:
        return None
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    detail = f"Changed past the program, and refused: {told}."
    return HealthFinding("seals", False, detail, _FIX, Severity.WARNING, "admin:audit_auditrow_changelist", tells=True)
