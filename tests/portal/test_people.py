"""The people of a tenant: what each role may do to whom, and invitations."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.models import Invitation, Membership


def place(person: Any) -> Membership:
    return Membership.objects.get(user=person.user)


def test_nobody_suspends_or_promotes_themselves(owner: Any) -> None:
    mine = place(owner)
    assert owner.browser.post(f"/people/{mine.id}/suspend/").status_code == 403
    assert owner.browser.post(f"/people/{mine.id}/role/", {"role": "member"}).status_code == 403
    mine.refresh_from_db()
    assert (mine.role, mine.state) == ("owner", "active")


def test_an_administrator_makes_no_owners(tenant: Any, make_person: Any, bob: Any) -> None:
    admin = make_person(tenant, "admin@example.org", "admin")
    assert admin.browser.post(f"/people/{place(bob).id}/role/", {"role": "owner"}).status_code == 403
    answer = admin.browser.post("/people/invite/", {"email": "x@example.org", "role": "owner"})
    assert answer.status_code == 422
    assert place(bob).role == "member"
    assert not Invitation.objects.exists()


@pytest.mark.parametrize("role", ["", "root", "Owner"])
def test_a_role_that_does_not_exist_is_refused(owner: Any, bob: Any, role: str) -> None:
    assert owner.browser.post(f"/people/{place(bob).id}/role/", {"role": role}).status_code in {400, 409, 422}
    assert place(bob).role == "member"


def test_an_auditor_sees_people_and_changes_none(tenant: Any, make_person: Any, bob: Any) -> None:
    auditor = make_person(tenant, "auditor@example.org", "auditor")
    text = auditor.browser.get("/people/").content.decode()
    assert "bob@example.org" in text
    assert "Invite somebody" not in text
    assert "Suspend" not in text
    assert auditor.browser.post(f"/people/{place(bob).id}/suspend/").status_code == 403


def test_a_suspended_member_is_out_at_once_and_can_come_back(owner: Any, bob: Any) -> None:
    owner.browser.post(f"/people/{place(bob).id}/suspend/")
    assert bob.browser.get("/keys/").status_code == 403
    owner.browser.post(f"/people/{place(bob).id}/resume/")
    assert bob.browser.get("/keys/").status_code == 200


def test_an_invitation_is_mailed_and_can_be_withdrawn(
    owner: Any, visitor: Client, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        owner.browser.post("/people/invite/", {"email": "dora@example.org", "role": "member"})
    invitation = Invitation.objects.get()
    link = next(word for word in mail.outbox[-1].body.split() if word.startswith("http"))
    path = "/" + link.split("/", 3)[3]
    assert "You are invited to The Gazette" in visitor.get(path, follow=True).content.decode()
    owner.browser.post(f"/people/invitations/{invitation.id}/withdraw/")
    again = Client(headers={"host": "gazette.test"}).get(path, follow=True)
    assert again.status_code == 404
    assert "does not work any more" in again.content.decode()


def test_inviting_a_member_again_says_so_beside_the_form(owner: Any, bob: Any) -> None:
    answer = owner.browser.post("/people/invite/", {"email": "bob@example.org", "role": "member"})
    assert answer.status_code == 409
    assert "member already" in answer.content.decode()
