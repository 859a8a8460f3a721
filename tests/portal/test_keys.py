"""Pages about keys: what they refuse, what they never show, what they do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.services.tenants import lock_tenant
from keycast.audit.models import AuditRow
from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip19 import encode_npub, encode_nsec
from keys.models import PersonalKey
from keys.services import lock_key
from tests.portal.conftest import OPERATOR, sign_in

CHOICE = "encrypted:local"


def fresh_nsec() -> tuple[str, str]:
    keypair, secret = Keypair.generate()
    with secret:
        return encode_nsec(secret), keypair.public_key_hex


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "x" * 101}, {"choice": ""}, {"choice": "hsm:google"}, {"choice": "encrypted:nethsm"}],
)
def test_a_key_without_name_or_in_a_mode_not_offered_is_refused(ada: Any, changes: dict[str, str]) -> None:
    answer = ada.browser.post("/keys/new/", {"name": "Main", "choice": CHOICE, **changes})
    assert answer.status_code == 422
    assert not PersonalKey.objects.exists()


def test_an_auditor_makes_no_keys(tenant: Any, make_person: Any) -> None:
    auditor = make_person(tenant, "auditor@example.org", "auditor")
    assert auditor.browser.post("/keys/new/", {"name": "Main", "choice": CHOICE}).status_code == 403
    assert not PersonalKey.objects.exists()


def test_a_new_key_belongs_to_whoever_made_it_whatever_else_is_posted(ada: Any, bob: Any, other_tenant: Any) -> None:
    extras = {
        "user": str(bob.user.id),
        "owner": str(bob.user.id),
        "tenant": str(other_tenant.id),
        "state": "locked",
        "public_key": "0" * 64,
        "is_staff": "1",
    }
    answer = ada.browser.post("/keys/new/", {"name": "Main", "choice": CHOICE, **extras})
    key = PersonalKey.objects.get()
    assert answer["Location"] == f"/keys/{key.id}/"
    assert (key.user_id, key.tenant_id, key.state) == (ada.user.id, ada.tenant.id, "active")
    assert key.public_key != "0" * 64


@pytest.mark.parametrize(
    "secret",
    ["nsec1wrong", "0" * 64, "f" * 64, "hello", "ncryptsec1qqqq", "xyz"],
)
def test_what_is_no_secret_key_is_refused_and_never_shown_again(ada: Any, secret: str) -> None:
    form = {"name": "Mine", "secret": secret, "choice": CHOICE, "understood": "on", "password": "hunter2hunter2"}
    answer = ada.browser.post("/keys/import/", form)
    assert answer.status_code == 422
    assert secret not in answer.content.decode()
    assert "hunter2hunter2" not in answer.content.decode()
    assert not PersonalKey.objects.exists()


def test_importing_needs_the_warning_confirmed(ada: Any) -> None:
    nsec, _ = fresh_nsec()
    answer = ada.browser.post("/keys/import/", {"name": "Mine", "secret": nsec, "choice": CHOICE})
    assert answer.status_code == 422
    assert nsec not in answer.content.decode()
    assert not PersonalKey.objects.exists()


def test_an_imported_key_is_found_by_its_public_key_and_its_secret_nowhere(ada: Any) -> None:
    nsec, public_key = fresh_nsec()
    form = {"name": "Mine", "secret": nsec, "choice": CHOICE, "understood": "on"}
    answer = ada.browser.post("/keys/import/", form, follow=True)
    page = answer.content.decode()
    assert encode_npub(public_key) in page
    assert nsec not in page
    assert PersonalKey.objects.get().is_imported
    assert not any(nsec in row.data for row in AuditRow.objects.all())


def test_a_fault_while_importing_leaves_the_secret_in_no_log(
    ada: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    nsec, _ = fresh_nsec()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr("keys.services.import_key", fail)
    ada.browser.raise_request_exception = False
    form = {"name": "Mine", "secret": nsec, "choice": CHOICE, "understood": "on", "password": "hunter2hunter2"}
    answer = ada.browser.post("/keys/import/", form)
    assert answer.status_code == 500
    written = capfd.readouterr()
    for text in (answer.content.decode(), caplog.text, written.out, written.err):
        assert nsec not in text
        assert "hunter2hunter2" not in text


def test_the_import_form_asks_browsers_to_forget(ada: Any) -> None:
    page = ada.browser.get("/keys/import/").content.decode()
    field = re.search(r"<input[^>]*name=\"secret\"[^>]*>", page)
    assert field
    assert 'autocomplete="off"' in field[0]
    assert 'type="password"' in field[0]
    assert "value=" not in field[0]


def test_the_empty_list_leads_on(ada: Any) -> None:
    page = ada.browser.get("/keys/").content.decode()
    assert "/keys/new/" in page
    assert "/keys/import/" in page


def test_the_list_shows_own_keys_only(ada: Any, bob: Any) -> None:
    mine, theirs = ada.key("Ada's"), bob.key("Bob's")
    page = ada.browser.get("/keys/").content.decode()
    assert encode_npub(mine.public_key) in page
    assert encode_npub(theirs.public_key) not in page


def test_a_long_list_costs_as_many_queries_as_a_short_one(ada: Any, django_assert_max_num_queries: Any) -> None:
    for number in range(6):
        ada.app(ada.key(f"Key {number}"))
    for path in ("/keys/", "/apps/"):
        with django_assert_max_num_queries(12):
            ada.browser.get(path)


def test_a_name_is_text_and_nothing_else(ada: Any) -> None:
    key = ada.key("<script>alert(1)</script>")
    for path in ("/keys/", f"/keys/{key.id}/", f"/apps/connect/?key={key.id}"):
        assert b"<script>alert(1)" not in ada.browser.get(path).content


def test_locking_renaming_and_unlocking_by_post_alone(ada: Any) -> None:
    key = ada.key()
    for step in ("lock", "unlock", "rename", "keep", "enable"):
        assert ada.browser.get(f"/keys/{key.id}/{step}/").status_code == 405
    ada.browser.post(f"/keys/{key.id}/lock/")
    key.refresh_from_db()
    assert key.state == "locked"
    confirmed(ada)
    ada.browser.post(f"/keys/{key.id}/unlock/")
    ada.browser.post(f"/keys/{key.id}/rename/", {"name": "Other", "state": "locked"})
    key.refresh_from_db()
    assert (key.state, key.name) == ("active", "Other")


def test_a_step_that_the_state_forbids_is_refused_in_words(ada: Any) -> None:
    key = ada.key()
    confirmed(ada)
    answer = ada.browser.post(f"/keys/{key.id}/unlock/")
    assert answer.status_code == 409
    assert b"This was not done" in answer.content


def test_a_key_that_staff_locked_offers_no_unlocking(ada: Any) -> None:
    key = ada.key()
    lock_key(actor=OPERATOR, key=key)
    text = ada.browser.get(f"/keys/{key.id}/").content.decode()
    assert "Unlock this key" not in text
    assert "ask them" in text
    confirmed(ada)
    assert ada.browser.post(f"/keys/{key.id}/unlock/").status_code == 403


def test_a_locked_tenant_says_so_on_every_page(ada: Any) -> None:
    lock_tenant(actor=OPERATOR, tenant=ada.tenant)
    for path in ("/keys/", "/apps/", "/security/"):
        assert "nothing is signed for anybody here" in ada.browser.get(path).content.decode()


def confirmed(person: Any) -> None:
    """Prove once more who one is, as the sign-in pages do it."""
    answer = person.browser.post("/account/reauthenticate/", {"password": "correct horse battery"})
    assert answer.status_code == 302


def test_destroying_a_key_requires_step_up(ada: Any) -> None:
    key = ada.key()
    for answer in (
        ada.browser.get(f"/keys/{key.id}/destroy/"),
        ada.browser.post(f"/keys/{key.id}/destroy/", {"confirmation": key.name}),
    ):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/")
        assert "next=%2Fkeys%2F" in answer["Location"]
    key.refresh_from_db()
    assert key.state == "active"


def test_destruction_is_refused_to_an_account_without_means_of_proof(ada: Any) -> None:
    ada.user.set_unusable_password()
    ada.user.save()
    sign_in(ada.browser, ada.user, ada.tenant)
    key = ada.key()
    answer = ada.browser.post(f"/keys/{key.id}/destroy/", {"confirmation": key.name})
    assert answer.status_code == 403
    key.refresh_from_db()
    assert key.state == "active"


def test_destruction_needs_the_name_typed(ada: Any) -> None:
    key = ada.key()
    confirmed(ada)
    assert ada.browser.post(f"/keys/{key.id}/destroy/", {"confirmation": "main"}).status_code == 422
    key.refresh_from_db()
    assert key.state == "active"


def test_a_scheduled_destruction_can_be_cancelled(ada: Any) -> None:
    key = ada.key()
    confirmed(ada)
    ada.browser.post(f"/keys/{key.id}/destroy/", {"confirmation": key.name})
    key.refresh_from_db()
    assert key.state == "destruction-scheduled"
    assert b"Keep this key" in ada.browser.get(f"/keys/{key.id}/").content
    ada.browser.post(f"/keys/{key.id}/keep/")
    ada.browser.post(f"/keys/{key.id}/enable/")
    key.refresh_from_db()
    assert key.state == "active"
