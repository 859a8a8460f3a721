"""threats.md K11: who gets a key out, and who does not: sessions, members, staff, writers of the database, and time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.core import signing
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.models import Tenant
from accounts.services import lock_tenant
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotPermitted
from keycast.crypto.schnorr import Keypair
from keycast.nostr import nip49
from keys import services as keys
from keys.errors import KekUnavailable
from keys.exporting import rules, services
from keys.exporting.errors import NothingAsked
from keys.models import KeyExport
from tests.portal.conftest import (
    OPERATOR,
    _everything,
    ada,
    bob,
    make_person,
    other_tenant,
    owner,
    sign_in,
    tenant,
    visitor,
)
from tests.security.exporting import CHOSEN, allow, asked, later, prove, take, with_factor
from tests.security.test_stolen_session import letters

__all__ = ["_everything", "ada", "bob", "make_person", "other_tenant", "owner", "tenant", "visitor"]


@pytest.fixture(autouse=True)
def allowed(settings: Any, ada: Any) -> None:
    settings.KEY_EXPORT = True
    allow(ada)


@pytest.fixture
def key(ada: Any) -> Any:
    with_factor(ada)
    return ada.key()


def rows(tag: str) -> list[tuple[str, str]]:
    found = AuditRow.objects.filter(tag=f"keys:key:{tag}").order_by("id")
    return [(row.outcome, row.actor_type) for row in found]


def is_refused(answer: Any) -> bool:
    return answer.status_code in {302, 403, 404, 409} and b"ncryptsec1" not in answer.content


# --- asking ---


def test_nobody_asks_without_proving_the_second_factor_now(ada: Any) -> None:
    key = ada.key()
    with_factor(ada)
    sign_in(ada.browser, ada.user, ada.tenant)
    session = ada.browser.session
    session["account_authentication_methods"] = [{"method": "password", "at": 1e12, "reauthenticated": True}]
    session.save()
    answer = ada.browser.post(f"/keys/{key.id}/export/", {"understood": "on"})
    assert answer["Location"].startswith("/account/2fa/reauthenticate/")
    ada.browser.post("/account/2fa/reauthenticate/", {"code": "000000"})
    assert ada.browser.post(f"/keys/{key.id}/export/", {"understood": "on"})["Location"].startswith("/account/2fa/")
    assert not KeyExport.objects.exists()


def test_an_account_without_a_second_factor_asks_for_nothing(ada: Any) -> None:
    key = ada.key()
    prove(ada)
    assert "This takes a second factor" in ada.browser.get(f"/keys/{key.id}/export/").content.decode()
    assert ada.browser.post(f"/keys/{key.id}/export/", {"understood": "on"}).status_code == 403
    assert rows("export-refused") == [("denied", "user")]
    assert not KeyExport.objects.exists()


def test_no_one_but_the_owner_asks_or_takes(ada: Any, bob: Any, owner: Any, key: Any) -> None:
    for other in (bob, owner):
        with_factor(other)
        assert other.browser.post(f"/keys/{key.id}/export/", {"understood": "on"}).status_code == 404
    staff = Actor("staff", ada.user.id.hex, ada.user.email)
    asked(ada, key)
    for actor in (bob.actor, owner.actor, staff, Actor.command("x"), Actor.system("x")):
        with pytest.raises(NotPermitted):
            services.ask(actor=actor, key=key, session_hash="0" * 64)
        with pytest.raises(NotPermitted):
            services.take(actor=actor, key=key, session_hash="0" * 64, password=CHOSEN)


def altered_rule(ada: Any, settings: Any) -> None:
    allow(ada, None)
    Tenant.objects.filter(pk=ada.tenant.pk).update(export_wait_hours=0)


def off_in_the_deployment(ada: Any, settings: Any) -> None:
    settings.KEY_EXPORT = False


def off_in_the_tenant(ada: Any, settings: Any) -> None:
    allow(ada, None)


@pytest.mark.parametrize("off", [off_in_the_deployment, off_in_the_tenant, altered_rule])
def test_what_is_not_allowed_is_neither_asked_for_nor_taken(
    off: Any, ada: Any, key: Any, settings: Any, monkeypatch: Any
) -> None:
    asked(ada, key)
    later(monkeypatch, hours=73)
    off(ada, settings)
    assert is_refused(take(ada, key))
    assert KeyExport.objects.get().state == "cancelled"
    assert ada.browser.post(f"/keys/{key.id}/export/", {"understood": "on"}).status_code == 409
    assert "cannot be exported" in ada.browser.get(f"/keys/{key.id}/").content.decode()


def test_a_rule_that_was_written_by_hand_holds_once_it_is_sealed(ada: Any, capsys: Any) -> None:
    Tenant.objects.filter(pk=ada.tenant.pk).update(export_wait_hours=1)
    with pytest.raises(CommandError, match="who can write the database"):
        call_command("seal_rows")
    ada.tenant.refresh_from_db()
    assert rules.wait_hours(ada.tenant) is None
    call_command("seal_rows", "--tenant", ada.tenant.slug, "--reason", "a repair")
    call_command("seal_rows")
    ada.tenant.refresh_from_db()
    assert rules.wait_hours(ada.tenant) == 1


@pytest.mark.parametrize("provider", ["google", "nethsm", "pkcs11", "openbao"])
def test_keys_of_an_hsm_are_not_exported_and_the_page_says_so_before(ada: Any, provider: str) -> None:
    assert rules.why_not(ada.tenant, "hsm", provider)
    assert rules.in_words(ada.tenant, "hsm", provider).startswith("no.")
    assert "after you ask" in ada.browser.get("/keys/new/").content.decode()


# --- waiting ---


def test_nothing_is_given_out_before_its_time(ada: Any, key: Any, monkeypatch: Any) -> None:
    asked(ada, key)
    later(monkeypatch, hours=71.9)
    assert is_refused(take(ada, key))
    assert KeyExport.objects.get().state == "waiting"
    assert rows("export-refused") == [("denied", "user")]


def hurried(export: KeyExport) -> dict[str, Any]:
    return {"due_at": timezone.now() - timedelta(hours=1)}


def moved_to_another_session(export: KeyExport) -> dict[str, Any]:
    return {"session_hash": "0" * 64}


def prolonged(export: KeyExport) -> dict[str, Any]:
    return {"expires_at": timezone.now() + timedelta(days=900)}


def of_other_credentials(export: KeyExport) -> dict[str, Any]:
    return {"credentials": "1" * 64}


@pytest.mark.parametrize("write", [hurried, moved_to_another_session, prolonged, of_other_credentials])
def test_a_request_that_was_written_past_us_ends(write: Any, ada: Any, key: Any, monkeypatch: Any) -> None:
    export = asked(ada, key)
    KeyExport.objects.filter(pk=export.pk).update(**write(export))
    if write is not hurried:
        later(monkeypatch, hours=73)
    assert is_refused(take(ada, key))
    export.refresh_from_db()
    assert (export.state, export.reason) == ("cancelled", services.ALTERED)


def test_a_request_that_was_made_past_us_is_none(ada: Any, key: Any) -> None:
    real = asked(ada, key)
    KeyExport.objects.filter(pk=real.pk).update(state="cancelled")
    now = timezone.now()
    copied = {"session_hash": real.session_hash, "credentials": real.credentials, "seal": real.seal}
    made = KeyExport(key=key, user=ada.user, asked_at=now, due_at=now, expires_at=now + timedelta(days=1), **copied)
    KeyExport.objects.bulk_create([made])
    assert is_refused(take(ada, key))
    made.refresh_from_db()
    assert made.state == "cancelled"


def test_another_session_and_a_stolen_session_cookie_get_nothing(ada: Any, key: Any, monkeypatch: Any) -> None:
    asked(ada, key)
    later(monkeypatch, hours=73)
    second = Client(headers={"host": "gazette.test"})
    sign_in(second, ada.user, ada.tenant)
    stolen = Client(headers={"host": "gazette.test"})
    stolen.cookies["session"] = ada.browser.cookies["session"].value
    for browser in (second, stolen):
        prove(ada, browser)
        assert "not asked for in this browser" in browser.get(f"/keys/{key.id}/export/").content.decode()
        assert take(ada, key, browser).status_code == 403
    assert rows("export-refused") == [("denied", "user")] * 2
    assert take(ada, key).status_code == 200, "the one that asked still gets it"


def test_the_cookie_is_compared_too(ada: Any, key: Any, monkeypatch: Any) -> None:
    asked(ada, key)
    later(monkeypatch, hours=73)
    ada.browser.cookies["key-export"] = "another"
    ada.browser.cookies["key-export"]["path"] = f"/keys/{key.id}/export/"
    assert take(ada, key).status_code == 403


def test_the_cookie_goes_to_the_pages_of_this_key_alone(ada: Any, key: Any) -> None:
    answer = ada.browser.post(f"/keys/{key.id}/export/", {"understood": "on"})
    cookie = answer.cookies["key-export"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (f"/keys/{key.id}/export/", True, "Lax")
    assert cookie.value not in str(KeyExport.objects.values())


# --- cancelled ---


def by_its_owner(ada: Any, key: Any, visitor: Any) -> None:
    assert ada.browser.post(f"/keys/{key.id}/export/cancel/").status_code == 302


def by_mail(ada: Any, key: Any, visitor: Any) -> None:
    path = address(letters()[0].text)
    assert "Cancel the export" in visitor.get(path).content.decode()
    assert KeyExport.objects.get().state == "waiting", "a mail program that looks at the address cancels nothing"
    assert visitor.post(path)["Location"] == path
    assert "is cancelled" in visitor.get(path).content.decode()
    assert visitor.post(path).status_code == 302, "twice changes nothing"


def by_staff(ada: Any, key: Any, visitor: Any) -> None:
    services.cancel(actor=OPERATOR, key=key, reason="asked on the phone")


def by_a_lock_lifted_again(ada: Any, key: Any, visitor: Any) -> None:
    keys.lock_key(actor=ada.actor, key=key)
    keys.unlock_key(actor=ada.actor, key=key)


def by_destruction_cancelled_again(ada: Any, key: Any, visitor: Any) -> None:
    keys.schedule_destruction(actor=ada.actor, key=key)
    keys.cancel_destruction(actor=ada.actor, key=key)
    keys.enable_key(actor=ada.actor, key=key)


def by_a_new_password(ada: Any, key: Any, visitor: Any) -> None:
    ada.user.set_password("another good passphrase")
    ada.user.save()
    sign_in(ada.browser, ada.user, ada.tenant)
    prove(ada)


def by_another_address(ada: Any, key: Any, visitor: Any) -> None:
    EmailAddress.objects.create(user=ada.user, email="thief@example.org", verified=True)


def by_another_factor(ada: Any, key: Any, visitor: Any) -> None:
    Authenticator.objects.create(user=ada.user, type="webauthn", data={"name": "theirs"})


def by_a_locked_tenant(ada: Any, key: Any, visitor: Any) -> None:
    lock_tenant(actor=OPERATOR, tenant=ada.tenant)


def by_time(ada: Any, key: Any, visitor: Any) -> None:
    KeyExport.objects.get()


ENDINGS = [
    *(by_its_owner, by_mail, by_staff, by_a_lock_lifted_again, by_destruction_cancelled_again),
    *(by_a_new_password, by_another_address, by_another_factor, by_a_locked_tenant, by_time),
]


@pytest.mark.parametrize("end", ENDINGS)
def test_a_request_that_was_ended_gives_nothing_out(
    end: Any, ada: Any, key: Any, visitor: Any, monkeypatch: Any
) -> None:
    asked(ada, key)
    end(ada, key, visitor)
    later(monkeypatch, hours=72 + (1 if end is not by_time else 73))
    services.settle_all()
    assert is_refused(take(ada, key))
    assert KeyExport.objects.get().state == "cancelled"
    assert len(rows("export-cancelled")) == 1
    assert "was cancelled" in letters()[-1].subject


def address(text: str) -> str:
    found = re.search(r"https?://[^/\s]+(/keys/export/cancel/\S+)", text)
    assert found
    return found[1]


def test_only_the_mails_own_address_cancels(ada: Any, key: Any, visitor: Any, other_tenant: Any) -> None:
    export = asked(ada, key)
    path = address(letters()[0].text)
    for tried in (signing.dumps(export.id.hex, salt="another purpose"), export.id.hex, "x"):
        assert visitor.post(f"/keys/export/cancel/{tried}/").status_code == 404
    assert visitor.post(path, headers={"host": "courier.test"}).status_code == 404
    assert KeyExport.objects.get().state == "waiting"


def test_using_a_recovery_code_ends_nothing(ada: Any, key: Any, monkeypatch: Any) -> None:
    codes = RecoveryCodes.activate(ada.user)
    asked(ada, key)
    assert codes.validate_code(codes.get_unused_codes()[0])
    later(monkeypatch, hours=73)
    assert take(ada, key).status_code == 200


# --- taken ---


def test_the_key_is_given_out_once_and_under_the_password_alone(
    ada: Any, key: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    asked(ada, key)
    later(monkeypatch, hours=73)
    assert ada.browser.get(f"/keys/{key.id}/export/take/").status_code == 200
    for weak in ("short", "correct horse battery", "password1234"):
        answer = ada.browser.post(f"/keys/{key.id}/export/take/", {"password": weak, "again": weak})
        assert answer.status_code == 422
        assert weak not in answer.content.decode()
    page = take(ada, key)
    text = page.content.decode()
    found = re.search(r"ncryptsec1[a-z0-9]+", text)
    assert found
    with nip49.decrypt(found[0], CHOSEN) as secret, Keypair.from_secret(secret) as pair:
        assert pair.public_key_hex == key.public_key
    assert CHOSEN not in text
    assert "no-store" in page["Cache-Control"]
    assert is_refused(take(ada, key))
    assert rows("exported") == [("intent", "user"), ("ok", "user")]
    assert [letter.subject for letter in letters()] == [
        "The Gazette: somebody asked for your key",
        "The Gazette: your key was exported",
    ]
    kept = "".join(row.data for row in AuditRow.objects.all()) + str(KeyExport.objects.values()) + caplog.text
    assert found[0] not in kept
    assert CHOSEN not in kept
    key.refresh_from_db()
    assert key.state == "active"


def test_what_is_cancelled_while_the_signer_works_is_thrown_away(ada: Any, key: Any, monkeypatch: Any) -> None:
    export = asked(ada, key)
    later(monkeypatch, hours=73)

    def slow(*_: Any) -> str:
        services.cancel(actor=OPERATOR, key=key)
        return "ncryptsec1thrownaway"

    monkeypatch.setattr("keys.signing.exporting.export", slow)
    assert is_refused(take(ada, key))
    export.refresh_from_db()
    assert export.state == "cancelled"


def test_a_signer_that_is_away_costs_nothing_but_time(ada: Any, key: Any, monkeypatch: Any) -> None:
    asked(ada, key)
    later(monkeypatch, hours=73)

    def away(*_: Any) -> str:
        raise KekUnavailable

    with monkeypatch.context() as patched:
        patched.setattr("keys.signing.exporting.export", away)
        assert take(ada, key).status_code == 503
    assert take(ada, key).status_code == 200
    assert [outcome for outcome, _ in rows("exported")] == ["intent", "failed", "intent", "ok"]


def test_a_restored_request_is_cancelled_by_a_command_alone(ada: Any, key: Any) -> None:
    export = asked(ada, key)
    with pytest.raises(NotPermitted):
        services.cancel_restored(actor=ada.actor, export=export)
    services.cancel_restored(actor=OPERATOR, export=export)
    with pytest.raises(NothingAsked):
        services.cancel(actor=ada.actor, key=key)
