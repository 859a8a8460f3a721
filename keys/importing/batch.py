"""Adds a batch of import lines in one transaction, and line by line where one of them is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db.models.functions import Lower
from django_scopes import scopes_disabled

from accounts.models import Tenant, User
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError, Unavailable
from keycast.crypto.secret import SecretBytes
from keys import services
from keys.errors import KeyExists
from keys.importing.lines import ImportLine, parse_line
from keys.lifecycle.creation import MAX_KEYS_A_QUERY, WantedKey
from keys.lifecycle.secret_input import check_secret, parse_secret_input
from keys.models import PersonalKey

ACTOR: Final = Actor.command("import_keys")


class ImportOutcome(StrEnum):
    """What became of a line. ``present``: the same person had the same key here already."""

    ADDED = "added"
    PRESENT = "present"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LineResult:
    """One line's end; ``code`` and ``message`` say why it was refused, without repeating any of it."""

    number: int
    outcome: ImportOutcome
    code: str = ""
    message: str = ""


@dataclass(slots=True)
class _Candidate:
    number: int
    wanted: WantedKey
    public_key: str


class NoSuchUser(KeycastError):
    """The line names nobody known."""

    code = "no-such-user"
    public_message = "There is no user with this e-mail address."


class BatchImporter:
    """Imports lines for one tenant. ``make_user`` is asked for addresses that nobody has; None refuses them."""

    def __init__(
        self, tenant: Tenant, key_mode: str | None = None, make_user: Callable[[str], User] | None = None
    ) -> None:
        self._tenant = tenant
        self._key_mode = key_mode
        self._make_user = make_user

    def run(self, lines: Sequence[tuple[int, bytes]]) -> list[LineResult]:
        """The results in the order of the lines. Raises Unavailable when nothing can be kept at all."""
        results: dict[int, LineResult] = {}
        candidates = list(self._candidates(lines, results))
        try:
            fresh = list(self._fresh(candidates, results))
            results.update((result.number, result) for result in self._add(fresh))
        finally:
            for candidate in candidates:
                _wipe(candidate)
        return [results[number] for number, _ in lines]

    def _candidates(self, lines: Sequence[tuple[int, bytes]], results: dict[int, LineResult]) -> Iterator[_Candidate]:
        parsed: dict[int, ImportLine] = {}
        for number, raw in lines:
            try:
                parsed[number] = parse_line(raw)
            except KeycastError as error:
                results[number] = _refusal(number, error)
        users = _users_by_email({line.email.lower() for line in parsed.values()})
        for number, line in parsed.items():
            try:
                yield self._candidate(number, line, users)
            except Unavailable:
                raise
            except KeycastError as error:
                results[number] = _refusal(number, error)

    def _candidate(self, number: int, line: ImportLine, users: dict[str, User]) -> _Candidate:
        email = line.email.lower()
        if email not in users:
            if self._make_user is None:
                raise NoSuchUser
            users[email] = self._make_user(line.email)
        secret = parse_secret_input(line.secret, line.password)
        return _Candidate(number, WantedKey(users[email], line.name, secret), check_secret(secret))

    def _fresh(self, candidates: Sequence[_Candidate], results: dict[int, LineResult]) -> Iterator[_Candidate]:
        """Those not known yet; a second run over the same file finds every key present."""
        owners = _owners(self._tenant, [candidate.public_key for candidate in candidates])
        for candidate in candidates:
            owner = owners.setdefault(candidate.public_key, candidate)
            if owner is candidate:
                yield candidate
            else:
                results[candidate.number] = _known(candidate, owner)

    def _add(self, fresh: Sequence[_Candidate]) -> list[LineResult]:
        if not fresh:
            return []
        try:
            services.add_keys(
                actor=ACTOR, tenant=self._tenant, wanted=[item.wanted for item in fresh], key_mode=self._key_mode
            )
        except Unavailable:
            raise
        except KeycastError as error:
            if len(fresh) == 1:
                return [_refusal(fresh[0].number, error)]
            return [result for item in fresh for result in self._add([item])]
        return [LineResult(item.number, ImportOutcome.ADDED) for item in fresh]


_Owner = _Candidate | tuple[bool, str]


def _owners(tenant: Tenant, public_keys: Sequence[str]) -> dict[str, _Owner]:
    """For each known public key: whether it is a living key of this tenant, and whose."""
    owners: dict[str, _Owner] = {}
    # A public key may be anybody's already, in whatever tenant.
    with scopes_disabled():
        for start in range(0, len(public_keys), MAX_KEYS_A_QUERY):
            rows = PersonalKey.objects.filter(public_key__in=public_keys[start : start + MAX_KEYS_A_QUERY])
            for row in rows.only("public_key", "tenant_id", "user_id", "state"):
                is_living = row.tenant_id == tenant.id and row.state not in {"destroyed", "failed"}
                owners[row.public_key or ""] = (is_living, row.user_id.hex)
    return owners


def _known(candidate: _Candidate, owner: _Owner) -> LineResult:
    user = candidate.wanted.user.id.hex
    is_same = owner.wanted.user.id.hex == user if isinstance(owner, _Candidate) else owner == (True, user)
    return LineResult(candidate.number, ImportOutcome.PRESENT) if is_same else _refusal(candidate.number, KeyExists())


def _users_by_email(emails: set[str]) -> dict[str, User]:
    wanted = sorted(emails)
    found: dict[str, User] = {}
    for start in range(0, len(wanted), MAX_KEYS_A_QUERY):
        chunk = wanted[start : start + MAX_KEYS_A_QUERY]
        for user in User.objects.annotate(lower=Lower("email")).filter(lower__in=chunk):
            found[user.email.lower()] = user
    return found


def _refusal(number: int, error: KeycastError) -> LineResult:
    return LineResult(number, ImportOutcome.REFUSED, error.code, error.public_message)


def _wipe(candidate: _Candidate) -> None:
    secret = candidate.wanted.secret
    if isinstance(secret, SecretBytes):
        secret.wipe()
