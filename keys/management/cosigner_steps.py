"""The subcommands of ``manage.py cosigner``: what is asked, and what is printed."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from keycast.crypto.errors import CryptoError
from keycast.nostr.nip19 import Nip19Error, public_key_of
from keys.cosigner import audit, brake_rules, forgetting, log_reading, operator_commands, rehearsal, store
from keys.cosigner.brake_rules import BrakeDefaults, CosignerScope, CosignerUse, UnreadableKindsError
from keys.cosigner.log_reading import CosignerLogFilter
from keys.cosigner.operator_commands import OperatorCommandError
from keys.cosigner.process import CosignerKek
from keys.cosigner.rehearsal import CannotRehearseError
from keys.errors import KekUnavailable

Say = Callable[[str], Any]
REFUSED: Final = 2
_NOT_COUNTED: Final = (brake_rules.KINDS, *brake_rules.CHOICES)
_STEPS: Final = {
    "stop": "refuse all use of a key, a tenant's keys, or everything; only resume lifts it",
    "resume": "lift a stop",
    "list": "keys, their states, stops and uses today",
    "limits": "show, or set, uses a day and kinds",
    "forgotten": "keys that wait to be forgotten; cancel one, or destroy one at once",
    "approve": "say yes to an HSM key that no attestation proves, as a key's authoriser",
    "log": "its log, newest first",
    "rehearse": "show that a backup of its database can be restored; changes nothing",
}


def add_arguments(parser: CommandParser) -> None:
    """One subcommand for each step; without one the co-signer serves."""
    steps = parser.add_subparsers(dest="step", metavar=" | ".join(_STEPS), parser_class=CommandParser)
    made = {name: steps.add_parser(name, help=words) for name, words in _STEPS.items()}
    rehearse = made.pop("rehearse")
    rehearse.add_argument("--dump", default="", metavar="FILE", help="look into this copy instead of a fresh one")
    rehearse.add_argument("--json", action="store_true", help="the outcome, for restore_check --cosigner; public")
    for name, sub in made.items():
        sub.add_argument("--key", default="", help="a key's id, or its public key as npub or hex")
        if name != "log":
            sub.add_argument("--tenant", default="", help="a tenant's id")
    made["approve"].add_argument("authoriser", metavar="PUBLIC_KEY", help="of the HSM key, 66 hexadecimal digits")
    for name in ("stop", "resume", "limits"):
        made[name].add_argument("--all", action="store_true", help="everything")
    for name in ("stop", "resume", "limits", "forgotten", "approve"):
        made[name].add_argument("--reason", default="", help="why; it goes into the log, where owners read it")
    what = made["forgotten"].add_mutually_exclusive_group()
    what.add_argument("--cancel", action="store_true", help="keep --key; it is disabled until the HSM enables it")
    what.add_argument(
        "--destroy", action="store_true", help="destroy the halves of --key now; the co-signer is stopped"
    )
    for name in ("list", "log", "forgotten"):
        made[name].add_argument("--json", action="store_true", help="one JSON object a line")
    made["list"].add_argument("--stopped", action="store_true", help="only what is stopped")
    _add_limits(made["limits"])
    _add_log(made["log"])


def _add_limits(sub: CommandParser) -> None:
    sub.add_argument("--every-key", action="store_true", help="each key that has no bound of its own")
    sub.add_argument("--every-tenant", action="store_true", help="each tenant that has no bound of its own")
    sub.add_argument("--signatures", help="signatures a day (UTC); 0: no bound; default: as the wider bound says")
    sub.add_argument("--openings", help="ECDH contributions a day, in the same way")
    sub.add_argument("--kinds", help="kinds of events, such as 0,1,7,10000-19999; default: as the wider bound says")
    sub.add_argument(
        "--asked", help="required: only what an app's own request asks for; or where-available, or default"
    )
    sub.add_argument("--apps", help="closed: signer A may tell of no further app; or open, or default")


def _add_log(sub: CommandParser) -> None:
    sub.add_argument("--tag", action="append", default=[], help="rows with this tag; may be given again")
    sub.add_argument("--before", type=int, default=0, metavar="ROW", help="rows before this one")
    sub.add_argument("--last", type=int, default=50, metavar="N", help="how many rows (50)")
    sub.add_argument(
        "--verify", action="store_true", help="check the hash chain first; exit code 1 if it is not intact"
    )


def run(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    """Do one step. Raises CommandError with exit code 2 for what is refused."""
    if not path.is_file() and not options.get("dump"):
        raise CommandError(f"There is no co-signer database {path}.", returncode=REFUSED)
    try:
        steps = {"rehearse": _rehearse, "stop": _stop, "resume": _resume, "list": _list, "limits": _limits}
        steps |= {"approve": _approve, "forgotten": _forgotten, "log": _log}
        steps[options["step"]](path, defaults, options, say)
    except (OperatorCommandError, CannotRehearseError, KekUnavailable) as error:
        raise CommandError(str(error), returncode=REFUSED) from None
    except sqlite3.OperationalError as error:  # such as a database that no co-signer of this version has opened yet
        raise CommandError(f"{path} cannot be read: {error}. Start the co-signer once.", returncode=REFUSED) from None


def _stop(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    scope, reason = _scope(path, options), _reason(options)
    operator_commands.stop(path, scope, reason)
    say(f"Stopped: {scope.in_words}. Only manage.py cosigner resume lifts it.")


def _resume(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    scope, reason = _scope(path, options), _reason(options)
    left = operator_commands.resume(path, scope, reason)
    say(f"Resumed: {scope.in_words}.")
    for stop in left:
        say(f"Still stopped: {stop.scope} ({stop.reason})")


def _approve(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    reason = _reason(options)
    try:
        key_id, authoriser = _key(path, options["key"]), bytes.fromhex(options["authoriser"])
        operator_commands.approve_authoriser(path, key_id, authoriser, reason)
    except (ValueError, CryptoError):
        raise CommandError("Give a public key of 66 hexadecimal digits.", returncode=REFUSED) from None
    say(f"{key_id}: {options['authoriser']} may be its authoriser, on your word.")


def _list(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    only = _uuid(options["tenant"]) if options["tenant"] else None
    wanted = _key(path, options["key"]) if options["key"] else None
    with closing(store.read_only(path)) as connection:
        if not options["json"]:
            for stop in operator_commands.rules(connection).stops.values():
                say(f"Stopped: {stop.scope} by {stop.who}, {_time(stop.at)}: {stop.reason}")
        for key in operator_commands.keys(connection, only):
            if (wanted and key.key_id != wanted) or (options["stopped"] and key.stop is None):
                continue
            used = ", ".join(f"{count} {use}" for use, count in key.today.items())
            words = f"{key.key_id}  tenant {key.tenant_id}  {key.public_key}  {key.state}  today: {used}"
            say(json.dumps(key.as_dict()) if options["json"] else words + ("  STOPPED" if key.stop else ""))


def _forgotten(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    if options["cancel"] or options["destroy"]:
        if not options["key"]:
            raise OperatorCommandError("Name the key with --key.")
        key_id, reason = _key(path, options["key"]), _reason(options)
        (operator_commands.keep if options["cancel"] else operator_commands.destroy)(path, key_id, reason)
        say(f"{key_id}: {'kept, and disabled' if options['cancel'] else 'destroyed'}.")
        return
    with closing(store.read_only(path)) as connection:
        found = forgetting.waiting(connection)
    for row in found:
        ids = {"key": str(row.key_id), "tenant": str(row.tenant_id), "public_key": row.public_key.hex()}
        asked, due = _time(row.asked_at * 1000), _time(row.due_at * 1000)
        words = f"{row.key_id}  tenant {row.tenant_id}  asked {asked}  forgotten {due}"
        say(json.dumps({**ids, "asked_at": asked, "due_at": due}) if options["json"] else words)
    if not found and not options["json"]:
        say("No key waits to be forgotten.")


def _limits(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    given = {name: options[name] for name in (*map(str, CosignerUse), *_NOT_COUNTED) if options[name] is not None}
    if given:
        scope = _scope(path, options)
        operator_commands.limit(
            path, scope, {name: _bound(scope, name, text) for name, text in given.items()}, _reason(options)
        )
    with closing(store.read_only(path)) as connection:
        limits = operator_commands.rules(connection, defaults).limits
    for (scope_name, what), value in sorted(limits.items()):
        say(f"{scope_name}  {what}: {'no bound' if value == '0' and what not in _NOT_COUNTED else value}")


def _bound(scope: CosignerScope, what: str, text: str) -> str | None:
    """A bound as it is kept. Raises OperatorCommandError for one that says nothing, or would not be asked."""
    if text == "default":
        return None
    if (what in _NOT_COUNTED) != (scope.kind == "all") and scope.kind not in {"key", "tenant"}:
        raise OperatorCommandError(
            "Uses a day are for a key, a tenant or every one; the others a key, a tenant or all."
        )
    if what in brake_rules.CHOICES:
        if text not in brake_rules.CHOICES[what]:
            raise OperatorCommandError(str(brake_rules.UnknownChoiceError(what)))
        return text
    if what == brake_rules.KINDS:
        try:
            brake_rules.kinds(text)
        except UnreadableKindsError as error:
            raise OperatorCommandError(str(error)) from None
        return text
    if not text.isdecimal():
        raise OperatorCommandError("Give a number of uses a day; 0 for no bound, default for the wider one.")
    return str(int(text))


def _log(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    with closing(store.read_only(path)) as connection:
        if options["verify"] and (fault := audit.verify(connection).fault):
            raise CommandError(f"The log is NOT intact. {fault}", returncode=1)
        key_id = _key(path, options["key"]) if options["key"] else None
        left, before = max(1, options["last"]), options["before"]
        while left > 0:
            rows = log_reading.page(connection, CosignerLogFilter(key_id, options["tag"], before=before), left)
            for row in rows:
                say(_line(row, as_json=options["json"]))
            left, before = left - len(rows), rows[-1].sequence if rows else 0
            if not before:
                break


def _rehearse(path: Path, defaults: BrakeDefaults, options: dict[str, Any], say: Say) -> None:
    kek = CosignerKek.found(Path(settings.DATA_DIR), is_production=settings.IS_PRODUCTION)
    dump = Path(options["dump"]) if options["dump"] else None
    with tempfile.TemporaryDirectory(prefix="keycast-cosigner-") as folder:
        found = rehearsal.rehearse(path, dump, Path(folder), kek)
    if options["json"]:
        say(json.dumps(asdict(found)))
    else:
        say(f"{found.rows} rows verified, {found.opened} of {found.halves} halves of {len(found.keys)} keys opened.")
        for problem in found.problems:
            say(f"PROBLEM: {problem}")
        say("This backup is NOT sound." if found.problems else "This backup is sound.")
    if found.problems:
        raise SystemExit(1)


def _line(row: log_reading.CosignerLogRow, *, as_json: bool) -> str:
    if as_json:
        named = {
            name: getattr(row, name) for name in ("sequence", "at", "tag", "outcome", "peer", "key_id", "request_id")
        }
        return json.dumps({**named, "data": json.loads(row.data)})
    parts = (str(row.sequence), _time(row.at), row.tag, row.outcome, row.peer, row.key_id, row.request_id, row.data)
    return "  ".join(part for part in parts if part and part != "{}")


def _scope(path: Path, options: dict[str, Any]) -> CosignerScope:
    """The one scope that is named. Raises OperatorCommandError for none, or several."""
    found = [
        *([brake_rules.key_scope(_key(path, options["key"]))] if options["key"] else []),
        *([brake_rules.tenant_scope(_uuid(options["tenant"]))] if options["tenant"] else []),
        *([brake_rules.EVERYTHING] if options["all"] else []),
        *([brake_rules.EVERY_KEY] if options.get("every_key") else []),
        *([brake_rules.EVERY_TENANT] if options.get("every_tenant") else []),
    ]
    if len(found) != 1:
        raise OperatorCommandError(
            "Name one: --key, --tenant or --all (for limits also --every-key or --every-tenant)."
        )
    return found[0]


def _key(path: Path, text: str) -> UUID:
    """A key by its id or public key. Raises OperatorCommandError."""
    if len(text) < 60:
        return _uuid(text)
    try:
        public_key = bytes.fromhex(public_key_of(text))
    except Nip19Error:
        raise OperatorCommandError("Give a key's id, or its public key as npub or hex.") from None
    with closing(store.read_only(path)) as connection:
        found = operator_commands.key_named(connection, public_key)
    if found is None:
        raise OperatorCommandError("The co-signer has no key with that public key.")
    return found


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise OperatorCommandError(f"{text!r} is no id.") from None


def _reason(options: dict[str, Any]) -> str:
    reason = str(options["reason"]).strip()
    if not reason:
        raise OperatorCommandError("Say why, with --reason: it goes into the co-signer's log, where owners read it.")
    return reason[:500]


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
