"""What tells by its time whether an address has an account: counted in hashes and commits, not in milliseconds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Tenant, User
from accounts.services import create_tenant, create_user
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow

pytestmark = pytest.mark.django_db(transaction=True)
NEW, PASSWORD = "new@example.org", "correct horse battery staple"
ACTOR = Actor.command("test")


@pytest.fixture
def club() -> Tenant:
    return create_tenant(actor=ACTOR, slug="club", name="The Club", host="club.example", registration="open")


@pytest.fixture
def alice() -> User:
    return create_user(actor=ACTOR, email="alice@example.org", password=PASSWORD)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each password that is hashed or verified."""
    made: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, *given: Any) -> str:
        made.append("hash")
        return str(encode(self, *given))

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return made


def work(hashes: list[str], path: str, **fields: str) -> tuple[int, str, Counter[str]]:
    """Status and target of the answer; how many hashes, commits and writes to the larger tables it took."""
    cache.clear()
    hashes.clear()
    with CaptureQueriesContext(connection) as seen:
        answer = Client(headers={"host": "club.example"}).post(path, fields)
    said = Counter(hashes=len(hashes))
    for query in seen.captured_queries:
        text = query["sql"]
        said["commits"] += text == "COMMIT"
        for table in ("accounts_user", "account_emailaddress", "audit_auditchain"):
            is_write = text.startswith("INSERT") or "UPDATE" in text[:20]
            said[table] += is_write and f" {table} " in f" {text.replace(chr(34), '')} "
    return answer.status_code, answer.get("Location", ""), said


def test_signing_up_does_the_same_work_for_an_address_that_has_an_account(
    club: Tenant, alice: User, hashes: list[str]
) -> None:
    known = work(hashes, "/account/signup/", email=alice.email, password1=PASSWORD)
    new = work(hashes, "/account/signup/", email=NEW, password1=PASSWORD)
    assert known[:2] == new[:2]
    assert new[2]["hashes"] == known[2]["hashes"] == 1
    assert new[2]["commits"] == known[2]["commits"]
    assert new[2]["accounts_user"] == known[2]["accounts_user"]
    assert new[2]["accounts_user"] == 2, "the row, and its seal over the address"
    assert new[2]["account_emailaddress"] == known[2]["account_emailaddress"]


def test_what_was_done_for_show_leaves_nothing_but_a_row_of_the_log(
    club: Tenant, alice: User, hashes: list[str]
) -> None:
    before = User.objects.count(), AuditRow.objects.filter(tag="accounts:user:created").count()
    work(hashes, "/account/signup/", email=alice.email.upper(), password1="another password")
    assert (User.objects.count(), AuditRow.objects.filter(tag="accounts:user:created").count()) == before
    assert AuditRow.objects.filter(tag="accounts:user:sign-up-repeated").count() == 1
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize("has_password", [True, False])
def test_signing_in_hashes_as_often_for_an_address_that_nobody_has(
    club: Tenant, alice: User, hashes: list[str], *, has_password: bool
) -> None:
    if not has_password:
        alice.set_unusable_password()
        alice.save()
    known = work(hashes, "/account/login/", login=alice.email, password="wrong" * 3)
    unknown = work(hashes, "/account/login/", login=NEW, password="wrong" * 3)
    assert known[2]["hashes"] == unknown[2]["hashes"] == 1
