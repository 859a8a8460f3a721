"""Whether two backups, signer A's and the co-signer's, make keys that sign: compared by public values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django_scopes import scopes_disabled

from accounts.models import KeyMode
from keycast.audit.restore_journal import JournalEntry
from keycast.audit.tags import AuditTag
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate
from keys.errors import KeyDamaged
from keys.hsm import providers
from keys.models import HalfRefresh, KeyState, PersonalKey
from keys.signing.half import SealedHalf

_USABLE: Final = (KeyState.ACTIVE, KeyState.LOCKED, KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED)
_SAID_AGAIN: Final = {KeyState.ACTIVE: "active", KeyState.LOCKED: "locked"}
_OF_HALVES: Final = {
    AuditTag.KEY_HALVES_REFRESHED.value: "its halves were refreshed",
    AuditTag.KEY_CONVERTED.value: "it became a split key",
}


@dataclass(slots=True)
class FitReport:
    """``fitting`` keys sign together; ``problems`` would lose a key, ``notes`` settle by themselves."""

    fitting: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split_keys() -> dict[str, dict[str, Any]]:
    """Signer A's side of every split key in this database, by id: public values alone."""
    # A rehearsal looks at the keys of every tenant.
    with scopes_disabled():
        keys = PersonalKey.objects.filter(
            key_mode=KeyMode.HSM, hsm_provider__in=providers.splitting(), state__in=_USABLE
        ).exclude(cosigner_public_key="")
        coming = {row.key_id: row.new_half for row in HalfRefresh.objects.only("key_id", "new_half")}
        return {key.id.hex: {**_ours(key), "coming_half": coming.get(key.id, "")} for key in keys.iterator()}


def _ours(key: PersonalKey) -> dict[str, Any]:
    try:
        half_a = SealedHalf.unpack(key.encrypted_half_key, key.kek_version).public.hex()
    except KeyDamaged:  # said by the self-test
        half_a = ""
    return {
        "state": key.state,
        "public_key": key.public_key or "",
        "half_a": half_a,
        "half_b": key.cosigner_public_key,
        "tweak": key.key_tweak,
        "authoriser": key.authoriser_public_key,
    }


def fit(ours: dict[str, dict[str, Any]], theirs: dict[str, Any], journal: Sequence[JournalEntry] = ()) -> FitReport:
    """Compare ``split_keys`` of one database with a rehearsal of the co-signer's (keys.cosigner.rehearsal)."""
    report, fitting = FitReport(), set[str]()
    for key, row in ours.items():
        if problem := _problem(row, theirs["keys"].get(key)):
            report.problems.append(f"split key {key}: {problem}")
        else:
            fitting.add(key)
            report.notes += _state_note(key, row, theirs["keys"][key])
    report.fitting = len(fitting)
    unknown = [key for key, row in theirs["keys"].items() if key not in ours and row["state"] in {"active", "locked"}]
    report.notes += [f"split key {key}: in the co-signer's backup, and not in use in this one" for key in unknown]
    report.problems += [
        f"split key {entry.key}: {_OF_HALVES[entry.tag]} after the co-signer's backup"
        for entry in journal
        if entry.tag in _OF_HALVES and entry.at > theirs["last_at"] and entry.key not in fitting
    ]
    return report


def _problem(row: dict[str, Any], there: dict[str, Any] | None) -> str:
    if there is None:
        return "the co-signer's backup has not got it"
    if there["state"] == "forgotten" or not there["halves"]:
        return "the co-signer has destroyed its half"
    if there["public_key"] != row["public_key"]:
        return "the co-signer has it with another public key"
    half_b = there["halves"].get(row["half_a"])
    if half_b is None and row["coming_half"] in there["halves"]:
        return ""  # a refresh was under way, and goes on by itself
    if half_b != row["half_b"]:
        return "the two halves do not belong together: one backup is from before a refresh, the other from after it"
    if not _makes(row):
        return "the two halves make another public key"
    if row["authoriser"] not in there["authorisers"]:
        return "the co-signer accepts another HSM key"
    return ""


def _makes(row: dict[str, Any]) -> bool:
    half_a, half_b, tweak = (bytes.fromhex(row[name]) for name in ("half_a", "half_b", "tweak"))
    try:
        made = KeyAggregate(b"\x02" + half_a, b"\x02" + half_b, tweak or None).public_key
        return made.hex() == str(row["public_key"])
    except (CryptoError, ValueError):
        return False


def _state_note(key: str, row: dict[str, Any], there: dict[str, Any]) -> list[str]:
    said = _SAID_AGAIN.get(row["state"], "disabled")
    if said == there["state"] or (row["state"] == KeyState.DESTRUCTION_SCHEDULED and there["state"] == "forgetting"):
        return []
    if there["state"] == "forgetting":
        return [f"split key {key}: {said} here, and the co-signer is about to forget it: manage.py cosigner forgotten"]
    return [f"split key {key}: {said} here, {there['state']} at the co-signer; a job says it again"]
