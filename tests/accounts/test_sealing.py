"""What a copy of the database tells about second factors and sessions: nothing (threats L7)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.mfa.utils import decrypt
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers import serialize
from django.db import connection
from django.test import override_settings

from accounts.models import User
from accounts.sealing import SealBroken, open_text, seal_text
from accounts.services import create_user
from accounts.sessions import SessionStore, row_key
from accounts.signin.authenticators import MFAAdapter

from .conftest import ACTOR

pytestmark = pytest.mark.django_db
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]


@pytest.fixture
def bob() -> User:
    return create_user(actor=ACTOR, email="bob@example.org")


def stored(authenticator: Authenticator) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator WHERE id = %s", [authenticator.pk])
        data: dict[str, Any] = json.loads(cursor.fetchone()[0])
    return data


def store(authenticator: Authenticator, data: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE mfa_authenticator SET data = %s WHERE id = %s", [json.dumps(data), authenticator.pk])


@pytest.mark.parametrize("sealed", ["", "plain", "k1.", "k1.!!!", "k1.AAAA", "k2." + "A" * 60, "k1.é"])
def test_open_text_refuses_text_that_was_not_sealed(sealed: str) -> None:
    with pytest.raises(SealBroken):
        open_text(sealed, "authenticator")


def test_a_seal_holds_for_its_purpose_and_place_only() -> None:
    sealed = seal_text("x", "authenticator", "ab", "c")
    assert open_text(sealed, "authenticator", "ab", "c") == "x"
    for purpose, *place in (
        ("session", "ab", "c"),
        ("authenticator", "a", "bc"),
        ("authenticator", "ab"),
        ("authenticator",),
    ):
        with pytest.raises(SealBroken):
            open_text(sealed, purpose, *place)


def test_every_altered_character_breaks_the_seal() -> None:
    sealed = seal_text("secret", "authenticator")
    for place in range(3, len(sealed) - 1):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            open_text(changed, "authenticator")


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    with override_settings(FIELD_KEYS=KEYS[:1]):
        old = seal_text("x", "authenticator")
    with override_settings(FIELD_KEYS=[KEYS[1], KEYS[0]]):
        assert open_text(old, "authenticator") == "x"
        new = seal_text("y", "authenticator")
    with override_settings(FIELD_KEYS=KEYS[1:]):
        assert open_text(new, "authenticator") == "y"
        with pytest.raises(SealBroken):
            open_text(old, "authenticator")


@pytest.mark.parametrize("key", ["short", base64.b64encode(b"x" * 31).decode(), "é"])
def test_a_field_key_that_is_none_is_refused_without_being_repeated(key: str) -> None:
    with override_settings(FIELD_KEYS=[key]), pytest.raises(ImproperlyConfigured) as refusal:
        seal_text("x", "authenticator")
    assert key not in str(refusal.value)


def test_a_totp_secret_moved_to_another_account_does_not_open(bob: User) -> None:
    mine, theirs = TOTP.activate(bob, SECRET), TOTP.activate(create_user(actor=ACTOR, email="eve@example.org"), SECRET)
    store(theirs.instance, stored(mine.instance))
    with pytest.raises(SealBroken):
        Authenticator.objects.get(pk=theirs.instance.pk).wrap().validate_code("000000")


def test_a_seal_of_one_type_is_none_of_another(bob: User) -> None:
    totp, codes = TOTP.activate(bob, SECRET), RecoveryCodes.activate(bob)
    store(codes.instance, {**stored(codes.instance), "seed": stored(totp.instance)["secret"]})
    with pytest.raises(SealBroken):
        Authenticator.objects.get(pk=codes.instance.pk).wrap().get_unused_codes()


def test_a_secret_written_in_clear_is_refused(bob: User) -> None:
    totp = TOTP.activate(bob, SECRET)
    store(totp.instance, {"secret": SECRET})
    with pytest.raises(SealBroken):
        Authenticator.objects.get(pk=totp.instance.pk).wrap().validate_code("000000")
    with pytest.raises(SealBroken):
        MFAAdapter().decrypt(SECRET)


def test_an_mfa_secret_before_saving_does_not_print_or_serialise(bob: User) -> None:
    unbound = MFAAdapter().encrypt(SECRET)
    assert SECRET not in f"{unbound} {unbound!r} {json.dumps([unbound])}"
    assert decrypt(unbound) == SECRET


def test_a_totp_secret_is_stored_sealed_and_works(bob: User) -> None:
    totp = TOTP.activate(bob, SECRET)
    assert SECRET not in json.dumps(stored(totp.instance))
    assert SECRET not in serialize("json", Authenticator.objects.all())
    code = format_hotp_value(hotp_value(SECRET, list(yield_hotp_counters_from_time())[1]))
    assert totp.validate_code(code)
    loaded = Authenticator.objects.get(pk=totp.instance.pk)
    loaded.record_usage()
    loaded.save()
    assert decrypt(Authenticator.objects.get(pk=loaded.pk).data["secret"]) == SECRET


def test_recovery_codes_are_sealed_used_once_and_survive_saving(bob: User) -> None:
    codes = RecoveryCodes.activate(bob)
    unused = codes.get_unused_codes()
    raw = json.dumps(stored(codes.instance))
    assert not any(code in raw for code in unused)
    assert codes.validate_code(unused[0])
    again = Authenticator.objects.get(pk=codes.instance.pk).wrap()
    assert not again.validate_code(unused[0])
    assert again.get_unused_codes() == unused[1:]


def test_a_session_is_not_found_by_what_the_database_shows() -> None:
    session = SessionStore()
    session["code"] = "ABC-DEF"
    session.save()
    row = Session.objects.get()
    assert session.session_key is not None
    assert session.session_key not in row.session_key + row.session_data
    assert "ABC" not in row.session_data
    assert SessionStore(row.session_key).load() == {}
    assert SessionStore(session.session_key).load() == {"code": "ABC-DEF"}


def test_a_session_moved_to_another_row_is_empty() -> None:
    rich, poor = SessionStore(), SessionStore()
    rich["user"], poor["user"] = "admin", "nobody"
    rich.save()
    poor.save()
    data = Session.objects.get(session_key=row_key(str(rich.session_key))).session_data
    Session.objects.filter(session_key=row_key(str(poor.session_key))).update(session_data=data)
    assert SessionStore(poor.session_key).load() == {}


def test_a_session_can_be_cycled_and_ended() -> None:
    session = SessionStore()
    session["x"] = 1
    session.save()
    first = session.session_key
    session.cycle_key()
    assert first is not None
    assert not session.exists(first)
    assert SessionStore(session.session_key).load() == {"x": 1}
    session.flush()
    assert not Session.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_close_connections_of_the_async_thread")
async def test_sessions_work_asynchronously() -> None:
    session = SessionStore()
    await session.aset("x", 1)
    await session.asave()
    other = SessionStore(session.session_key)
    assert await other.aget("x") == 1
    assert await other.aexists(str(session.session_key))
    await other.adelete()
    assert await SessionStore(session.session_key).aload() == {}
