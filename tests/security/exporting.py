"""An owner who has a second factor, in a tenant that lets keys be exported, and their clock."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.utils import timezone

from accounts.services import change_tenant
from keys.models import KeyExport
from tests.portal.conftest import OPERATOR, Person

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CHOSEN = "nine lorries in a tunnel"
HOURS = 72


def allow(person: Person, hours: int | None = HOURS) -> None:
    change_tenant(actor=OPERATOR, tenant=person.tenant, export_wait_hours=hours)
    person.tenant.refresh_from_db()


def with_factor(person: Person) -> Person:
    TOTP.activate(person.user, SECRET)
    person.user.refresh_from_db()
    prove(person)
    return person


def prove(person: Person, browser: Any = None) -> None:
    """As the page for the authenticator's code leaves the session."""
    session = (browser or person.browser).session
    proof = {"method": "mfa", "at": time.time(), "reauthenticated": True}
    session["account_authentication_methods"] = [proof]
    session["account_authentication_methods_user"] = str(person.user.pk)
    session.save()


def asked(person: Person, key: Any) -> KeyExport:
    answer = person.browser.post(f"/keys/{key.id}/export/", {"understood": "on"})
    assert answer["Location"] == f"/keys/{key.id}/export/", answer.content.decode()[-2000:]
    return KeyExport.objects.get(key=key, state="waiting")


def take(person: Person, key: Any, browser: Any = None) -> Any:
    body = {"password": CHOSEN, "again": CHOSEN}
    return (browser or person.browser).post(f"/keys/{key.id}/export/take/", body)


def later(monkeypatch: pytest.MonkeyPatch, **time_passed: float) -> None:
    at = timezone.now() + timedelta(**time_passed)
    monkeypatch.setattr(timezone, "now", lambda: at)
