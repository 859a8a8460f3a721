"""What a restored database is worth: looked at from inside it, and compared with the one that serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django_scopes import scopes_disabled

from bunker.models import Connection, ConnectionState
from keycast.audit import journal_writer
from keycast.audit.models import AuditChain, AuditRow
from keycast.audit.restore_journal import missing_after_restore
from keycast.audit.services import verify
from keycast.operations.backup.facts import facts_from
from keycast.operations.backup.reconcile import reconcile
from keys.lifecycle.verification import self_test
from keys.models import KeyState, PersonalKey
from keys.split import fitting


@dataclass(slots=True)
class RestoreInspection:
    """What was found in a restored database. ``heads`` and ``keys`` are as they were before it was brought up to date.

    ``keys`` has state and public key by key id, ``split_keys`` signer A's side of split ones (keys.split.fitting);
    ``problems`` says what is wrong, in words.
    """

    heads: dict[str, tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    rows: int = 0
    opened: int = 0
    done: dict[str, int] = field(default_factory=dict)
    lost_keys: dict[str, str] = field(default_factory=dict)
    split_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def inspect() -> RestoreInspection:
    """Migrate this database, verify its log, open every key, bring it up to date, and see that nothing came back."""
    call_command("migrate", verbosity=0)
    # A rehearsal inspects the whole database.
    with scopes_disabled():
        found = RestoreInspection(heads=heads(), keys=public_keys(), split_keys=fitting.split_keys())
        report = verify()
        found.rows = report.rows
        found.problems += [
            f"audit chain {fault.chain}, row {fault.sequence}: {fault.problem}" for fault in report.faults
        ]
        bad = self_test(None)
        found.problems += [f"{problem.kind} key {problem.row_id} does not open: {problem.cause}" for problem in bad]
        kept = [key for key, (state, _) in found.keys.items() if state not in (KeyState.DESTROYED, KeyState.FAILED)]
        found.opened = len(kept) - len({problem.row_id for problem in bad if problem.kind == "personal"})
        _reconcile(found)
    return found


def _reconcile(found: RestoreInspection) -> None:
    """Rehearse ``after_restore`` with the restore journal, if there is one."""
    file = journal_writer.restore_journal()
    if file is None:
        return
    entries = missing_after_restore(file.read())
    outcomes = reconcile(entries)
    found.done, found.lost_keys = dict(outcomes.done), outcomes.lost_keys
    found.problems += outcomes.problems
    facts = facts_from(entries)
    back = PersonalKey.objects.filter(pk__in=[UUID(hex=key) for key in facts.destroyed]).exclude(
        state=KeyState.DESTROYED
    )
    found.problems += [f"destroyed key {key.id} came back" for key in back]
    if waiting := Connection.objects.filter(state=ConnectionState.PENDING).count():
        found.problems.append(f"{waiting} one-time secrets can be used again")


def heads() -> dict[str, tuple[int, str]]:
    """Sequence and hash of every chain's last row."""
    rows = AuditChain.objects.values_list("name", "sequence", "head")
    return {name: (sequence, bytes(head).hex()) for name, sequence, head in rows}


def public_keys() -> dict[str, tuple[str, str]]:
    """State and public key of every personal key, by id."""
    # Keys of every tenant are compared.
    with scopes_disabled():
        rows = PersonalKey.objects.values_list("id", "state", "public_key")
        return {key.hex: (state, public_key or "") for key, state, public_key in rows.iterator()}


def compare(found: dict[str, Any]) -> list[str]:
    """What in an ``RestoreInspection`` (as a dict) does not fit the database that serves, in words."""
    problems = []
    for chain, (sequence, head) in found["heads"].items():
        if sequence == 0:
            continue
        row = AuditRow.objects.filter(chain=chain, sequence=sequence).only("hash").first()
        if row is not None and bytes(row.hash).hex() != head:
            problems.append(
                f"audit chain {chain}: row {sequence} is another one here; this dump is not of this database"
            )
        elif row is None and not _is_cut(chain, sequence):
            problems.append(f"audit chain {chain}: the dump has row {sequence}, this database has not")
    here = public_keys()
    for key, (_, public_key) in found["keys"].items():
        if key in here and here[key][1] != public_key and public_key:
            problems.append(f"key {key} has another public key here")
    return problems


def _is_cut(chain: str, sequence: int) -> bool:
    """Whether retention has taken the row away since."""
    first = AuditRow.objects.filter(chain=chain).order_by("sequence").only("sequence").first()
    return first is not None and first.sequence > sequence
