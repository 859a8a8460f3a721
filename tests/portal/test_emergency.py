"""The emergency page: a lock is one button, its end takes another person, and nobody is led into a dead end."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import Role, Tenant
from accounts.models.panic import Release
from accounts.panic.services import ask_release, lock_deployment
from accounts.services import lock_tenant, lock_user
from keycast.audit.entries import Actor
from tests.portal.test_keys import confirmed

PAGE = "/emergency/"


@pytest.fixture
def admin(tenant: Tenant, make_person: Any) -> Any:
    return make_person(tenant, "admin@example.org", Role.ADMIN)


def test_a_member_sees_no_button_for_everybody_and_cannot_press_it(ada: Any, tenant: Tenant) -> None:
    page = ada.browser.get(PAGE)
    assert b"Lock all my keys now" in page.content
    assert b"Lock everybody now" not in page.content
    assert ada.browser.post(reverse("portal:emergency_lock_everybody")).status_code == 403
    tenant.refresh_from_db()
    assert tenant.state == Tenant.State.ACTIVE


def test_a_button_locks_all_ones_keys_and_the_page_says_how_it_goes_on(ada: Any, owner: Any) -> None:
    ada.browser.post(reverse("portal:emergency_lock_mine"))
    ada.user.refresh_from_db()
    assert ada.user.locked_at is not None
    assert b"Ask to unlock" in ada.browser.get(PAGE).content


def test_asking_needs_a_fresh_proof(ada: Any, owner: Any) -> None:
    lock_user(actor=ada.actor, user=ada.user)
    address = reverse("portal:emergency_ask_mine")
    assert ada.browser.post(address, {"reason": "found"}).status_code == 302
    assert not Release.objects.exists()


def test_an_owner_grants_a_members_unlock_request(ada: Any, owner: Any) -> None:
    lock_user(actor=ada.actor, user=ada.user)
    confirmed(ada)
    ada.browser.post(reverse("portal:emergency_ask_mine"), {"reason": "found <b>it</b>"})
    release = Release.objects.get()
    page = owner.browser.get(PAGE).content.decode()
    assert "found &lt;b&gt;it&lt;/b&gt;" in page
    decide = reverse("portal:emergency_decide", args=[release.id])
    assert owner.browser.post(decide, {"decision": "grant"}).status_code == 302
    ada.user.refresh_from_db()
    assert ada.user.locked_at is not None, "no fresh proof was given"
    confirmed(owner)
    owner.browser.post(decide, {"decision": "grant"})
    ada.user.refresh_from_db()
    assert ada.user.locked_at is None


def test_anything_but_a_grant_is_a_refusal(ada: Any, owner: Any) -> None:
    lock_user(actor=ada.actor, user=ada.user)
    release = ask_release(actor=ada.actor, tenant=ada.tenant, user=ada.user, reason="found")
    confirmed(owner)
    owner.browser.post(reverse("portal:emergency_decide", args=[release.id]), {"decision": "Grant"})
    ada.user.refresh_from_db()
    assert ada.user.locked_at is not None
    assert Release.objects.get().state == Release.State.REFUSED


def test_who_asked_cannot_decide(owner: Any, admin: Any) -> None:
    lock_tenant(actor=owner.actor, tenant=owner.tenant)
    release = ask_release(actor=owner.actor, tenant=owner.tenant, reason="over")
    confirmed(owner)
    page = owner.browser.post(reverse("portal:emergency_decide", args=[release.id]), {"decision": "grant"}, follow=True)
    assert b"Another person has to decide" in page.content
    owner.tenant.refresh_from_db()
    assert owner.tenant.state == Tenant.State.LOCKED


def test_an_owner_without_another_leader_is_told_whom_to_ask(owner: Any) -> None:
    lock_tenant(actor=owner.actor, tenant=owner.tenant)
    page = owner.browser.get(PAGE).content.decode()
    assert "has no other owner or administrator" in page
    assert "Ask to unlock" not in page


def test_a_lock_by_staff_says_that_only_they_lift_it(ada: Any) -> None:
    lock_user(actor=Actor.command("test"), user=ada.user)
    page = ada.browser.get(PAGE).content.decode()
    assert "Only they can lift it" in page


def test_a_locked_deployment_is_said_on_every_page(ada: Any) -> None:
    lock_deployment(actor=Actor.command("test"), reason="drill")
    assert b"The whole service is locked" in ada.browser.get("/keys/").content
