"""What the page of one key shows beside its fields: nothing secret, each part in a bounded number of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from accounts.models import KeyMode
from keys import selectors
from keys.admin import history, work
from keys.models import KeyState, PersonalKey, Provider

SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class KeyIssue:
    """What stands in a key's way, and what to do about it."""

    what: str
    todo: str


def sections(key: PersonalKey, request: HttpRequest) -> dict[str, Any]:
    """The context of ``admin/keys/key.html``."""
    apps = list(key.connections.order_by("-created_at")[: SHOWN + 1])
    return {
        "life": history.key_history(key, request.GET.get("life", "")),
        "last_check": history.last_check(key),
        "trouble": issue_of(key),
        "work": work.ongoing_operations(key),
        "hsm": hsm_facts(key),
        "remotes": list(key.transport_keys.defer("encrypted_secret_key").order_by("-created_at")[:SHOWN]),
        "apps": apps[:SHOWN],
        "has_more_apps": len(apps) > SHOWN,
        "apps_url": f"{reverse('admin:bunker_connection_changelist')}?q={key.id}",
        "log_url": f"{reverse('admin:audit_auditrow_changelist')}?q={key.id.hex}",
    }


def issue_of(key: PersonalKey) -> KeyIssue | None:
    """Why a key cannot be used although nobody stopped it, in plain words."""
    find = _TROUBLES.get(KeyState(key.state))
    return find(key) if find else None


def hsm_facts(key: PersonalKey) -> list[tuple[str, str]]:
    """What there is of the key in an HSM and at the co-signer: names and public keys."""
    if key.key_mode != KeyMode.HSM:
        return []
    facts = [("HSM", str(Provider(key.hsm_provider).label)), ("key in the HSM", key.kms_key_name)]
    if selectors.is_split(key):
        facts += [
            ("version in use", key.kms_key_version.rpartition("/")[2]),
            ("authoriser's public key", key.authoriser_public_key),
            ("what shows that it is in an HSM", selectors.proof_in_words(key)),
            ("co-signer (its public half)", key.cosigner_public_key),
            ("signer A's half is sealed under", key.kek_version),
        ]
    return [(name, value or "-") for name, value in facts]


def _pending(key: PersonalKey) -> KeyIssue:
    waits = f"It waits: {key.state_reason}" if key.state_reason else "It waits for the HSM."
    after = f"A job asks every minute, and gives up {selectors.pending_until(key):%Y-%m-%d %H:%M} UTC."
    return KeyIssue(f"Being created. {waits}", after)


def _failed(key: PersonalKey) -> KeyIssue:
    what = f"It could not be made. {key.state_reason}".strip()
    if key.kms_key_name:
        return KeyIssue(what, "A job is ending what the HSM has of it; after that it can be tried again.")
    if key.is_imported:
        return KeyIssue(what, "Its secret was wiped with the try: its owner has to import it again. Remove this one.")
    return KeyIssue(what, "Try again: a new key takes its place. Or remove it; nobody ever used its public key.")


def _doomed(key: PersonalKey) -> KeyIssue:
    return KeyIssue(
        f"It will be destroyed after {key.destruction_due_at:%Y-%m-%d %H:%M} UTC.",
        "Until then its destruction can be cancelled; afterwards nothing brings it back.",
    )


_TROUBLES: Final[dict[KeyState, Callable[[PersonalKey], KeyIssue]]] = {
    KeyState.PENDING: _pending,
    KeyState.FAILED: _failed,
    KeyState.DESTRUCTION_SCHEDULED: _doomed,
}
