"""An app as its owner sees it: words instead of states, and what its policy says in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from bunker.models import Connection, ConnectionState, RequestRate
from bunker.policy import TEMPLATES, PolicyError, describe, parse_document
from bunker.portal.requested_permissions import wishes
from bunker.selectors import ConnectAnswer
from keycast.nostr.nip46 import parse_permissions

_BADGES = {
    ConnectionState.PENDING: "badge-accent",
    ConnectionState.ACTIVE: "badge-good",
    ConnectionState.LOCKED: "badge-warn",
}


@dataclass(frozen=True, slots=True)
class AppView:
    """What templates get of a connection; the secret was never stored, and its hash stays behind."""

    id: UUID
    name: str
    key_id: UUID
    key_name: str
    state: str
    state_label: str
    state_class: str
    is_live: bool
    is_pending: bool
    is_locked: bool
    claimed_name: str
    claimed_url: str
    client: str
    client_short: str
    policy_title: str
    may: tuple[str, ...]
    may_not: tuple[str, ...]
    is_narrowed: bool
    """The app asked for less than it was granted, and gets no more than that."""
    narrowed_to: tuple[str, ...]
    not_understood: tuple[str, ...]
    """What the app asked for in words that nobody knows; it gets nothing for it, and loses nothing."""
    relays: tuple[str, ...]
    created_at: datetime
    bound_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    use_count: int
    is_machine: bool
    ended_at: datetime | None
    end_reason: str
    secret_expires_at: datetime | None
    is_to_move: bool
    moves_by: datetime | None
    is_answer_waiting: bool
    """The answer to the app's nostrconnect:// address is on its way (only where the page asks, see ``present``)."""
    is_answer_lost: bool


def present(connection: Connection, answer: ConnectAnswer | None = None) -> AppView:
    """Needs ``connection.key`` and ``connection.transport`` at hand (the selectors fetch them).

    ``answer`` is what became of the answer to the app's address, on pages that show it.
    """
    state = ConnectionState(connection.state)
    label, badge, is_live = _standing(connection, state)
    title, may, may_not = _policy(connection)
    client = connection.client_public_key
    requested = parse_permissions(connection.requested_permissions)
    return AppView(
        id=connection.id,
        name=connection.name,
        key_id=connection.key_id,
        key_name=connection.key.name,
        state=state.value,
        state_label=label,
        state_class=badge,
        is_live=is_live,
        is_pending=is_live and state == ConnectionState.PENDING,
        is_locked=is_live and state == ConnectionState.LOCKED,
        claimed_name=_claim(connection, "name"),
        claimed_url=_claim(connection, "url"),
        client=client,
        client_short=f"{client[:8]}…{client[-8:]}" if client else "",
        policy_title=title,
        may=may,
        may_not=may_not,
        is_narrowed=bool(requested.known),
        narrowed_to=tuple(wishes(requested.known)),
        not_understood=requested.unknown,
        relays=tuple(str(url) for url in connection.relays),
        created_at=connection.created_at,
        bound_at=connection.bound_at,
        expires_at=connection.expires_at,
        last_used_at=connection.last_used_at,
        use_count=connection.use_count,
        is_machine=connection.request_rate == RequestRate.MACHINE,
        ended_at=connection.ended_at,
        end_reason=connection.end_reason,
        secret_expires_at=connection.secret_expires_at,
        is_to_move=is_live and not connection.transport.is_current,
        moves_by=connection.transport.ends_at,
        is_answer_waiting=is_live and answer == ConnectAnswer.WAITING,
        is_answer_lost=is_live and answer == ConnectAnswer.NOT_TAKEN,
    )


def _standing(connection: Connection, state: ConnectionState) -> tuple[str, str, bool]:
    """Label, badge and whether it is still alive; time may have ended what no job has closed yet."""
    now = timezone.now()
    if state not in _BADGES:
        return state.label, "", False
    if connection.expires_at is not None and connection.expires_at <= now:
        return "Expired", "", False
    if (
        state == ConnectionState.PENDING
        and connection.secret_expires_at is not None
        and connection.secret_expires_at <= now
    ):
        return "Never used", "", False
    return state.label, _BADGES[state], True


def _policy(connection: Connection) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A template's own words while the granted document is the template's; a description of the document else."""
    template = TEMPLATES.get(connection.policy_slug)
    if template is not None and template.document == connection.policy:
        return template.title, template.may, template.may_not
    title = template.title if template is not None else connection.policy_slug
    try:
        return title, tuple(describe(parse_document(connection.policy))), ()
    except PolicyError:
        return title, (), ("Anything: its policy cannot be read, so every request is refused",)


def _claim(connection: Connection, field: str) -> str:
    metadata = connection.client_metadata
    value = metadata.get(field) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""
