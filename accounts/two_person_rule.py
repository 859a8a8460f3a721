"""The life of a request that a second person decides on: asked once, decided by another person, or over in time.

The first decision wins by a conditional UPDATE. Staff ask in accounts.staff.approvals, a tenant's own people in
accounts.panic; each writes its own audit rows and says itself who may decide.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.errors import AlreadyDecided, AlreadyRequested, InvalidValue, OwnApprovalRequest
from accounts.mail import send_later
from accounts.models.two_person_request import EXPIRED, OPEN, TwoPersonRequest
from keycast.audit.entries import Actor
from keycast.base.errors import NotFound, NotPermitted

LIFETIME: Final = datetime.timedelta(hours=24)

Request = TypeVar("Request", bound=TwoPersonRequest)


def clean_reason(reason: str) -> str:
    """One printable line of at most 200 characters. Raises Invalid."""
    text = reason.strip()
    if not text or len(text) > 200 or not text.isprintable():
        raise InvalidValue("Give a reason of at most 200 characters.")
    return text


def ask_once(row: TwoPersonRequest) -> None:
    """Store a new request, open for 24 hours. Raises AlreadyRequested where the table has the same one open."""
    row.expires_at = timezone.now() + LIFETIME
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise AlreadyRequested from None


def open_row(rows: QuerySet[Request], pk: UUID) -> Request:
    """The row, locked until the transaction ends. Raises NotFound, and AlreadyDecided when it is over."""
    row = rows.select_for_update(of=("self",)).filter(pk=pk).first()
    if row is None:
        raise NotFound
    if row.state != OPEN or row.expires_at <= timezone.now():
        raise AlreadyDecided(row.why_closed())
    return row


def require_another_person(row: TwoPersonRequest, actor: Actor) -> None:
    """Raises OwnApprovalRequest for who asked."""
    if row.asked_by_id.hex == actor.id:
        raise OwnApprovalRequest


def require_who_asked(row: TwoPersonRequest, actor: Actor, actor_type: str) -> None:
    """Raises NotPermitted for anybody else, and for the same person in another part."""
    if actor.type != actor_type or row.asked_by_id.hex != actor.id:
        raise NotPermitted("Only who asked can withdraw a request.")


def close(row: TwoPersonRequest, state: str, *, decided_by: UUID | None, **said: Any) -> None:
    """Put an end to an open request. Raises AlreadyDecided when another process was faster."""
    values = {"state": state, "decided_at": timezone.now(), "decided_by_id": decided_by, **said}
    rows: Any = type(row)._base_manager  # whatever the scope: the row was found in it
    if not rows.filter(pk=row.pk, state=OPEN).update(**values):
        raise AlreadyDecided
    for name, value in values.items():
        setattr(row, name, value)


def expire_overdue(rows: Iterable[Request], closed: Callable[[Request], None] = lambda row: None, **said: Any) -> int:
    """Close those of ``rows`` that nobody decided in time, each in its own transaction; returns how many."""
    return sum(_expire(row, closed, said) for row in rows)


def overdue(rows: QuerySet[Request]) -> QuerySet[Request]:
    """Those still open whose time is over."""
    return rows.filter(state=OPEN, expires_at__lte=timezone.now())


def tell(addresses: Iterable[str], subject: str, text: str) -> None:
    """Mail those who may decide, or should know."""
    for address in addresses:
        send_later(to=address, subject=f"[Keycast] {subject}", text=text)


@transaction.atomic
def _expire(row: Request, closed: Callable[[Request], None], said: dict[str, Any]) -> bool:
    try:
        close(row, EXPIRED, decided_by=None, **said)
    except AlreadyDecided:
        return False
    closed(row)
    return True
