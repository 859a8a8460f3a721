"""``manage.py approve_nostrconnect``: an operator lets in an app by its own address."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from bunker.models import Connection, Request
from keycast.crypto.schnorr import Keypair
from tests.bunker.support import make_home, unscoped

pytestmark = pytest.mark.django_db(transaction=True)
URI = f"nostrconnect://{Keypair.generate()[0].public_key_hex}?relay=wss%3A%2F%2Frelay.example&secret=s3cr3t&name=App"


def approve(monkeypatch: pytest.MonkeyPatch, uri: str, **options: Any) -> tuple[str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(uri + "\n"))
    out, err = io.StringIO(), io.StringIO()
    home = make_home()
    call_command(
        "approve_nostrconnect", "--key", home.key.public_key, "--policy", "full", stdout=out, stderr=err, **options
    )
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize("uri", ["", "bunker://x", URI.replace("secret=s3cr3t", "")])
def test_what_is_no_uri_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    with pytest.raises(CommandError, match="no nostrconnect:// URI") as refusal:
        approve(monkeypatch, uri)
    assert "relay.example" not in str(refusal.value)


def test_it_fails_when_no_relay_has_taken_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="No relay of the app has taken the answer yet"):
        approve(monkeypatch, URI, wait=0.0)
    with unscoped():
        assert Connection.objects.get().state == "active"


def test_it_fails_when_the_answer_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: Request.objects.update(state="abandoned"))
    with pytest.raises(CommandError, match="took the answer"):
        approve(monkeypatch, URI)


def test_it_waits_until_a_relay_has_taken_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: Request.objects.update(state="published"))
    out, err = approve(monkeypatch, URI + "&perms=undefined")
    assert "Approved 'App'" in out
    assert "has taken the answer" in out
    assert "undefined" in err
    assert "s3cr3t" not in out + err
