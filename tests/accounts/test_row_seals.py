"""Seals on what makes somebody a person: kept by every way of writing that is ours, by no other (threats, writers)."""

from __future__ import annotations

import base64
import importlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection as database
from django_scopes import scopes_disabled
from pytest_django import Settings

from accounts import seal_checks
from accounts.account_seals import INVITATION, MEMBERSHIP, is_sealed, is_whole
from accounts.models import Invitation, Membership, User
from accounts.permissions import MemberPermission, can
from accounts.selectors import active_membership_of
from accounts.services import change_role, create_user, invite, lock_user, make_staff, suspend_member
from accounts.services.invitations import find_invitation, token_hash
from accounts.services.seals import seal_account
from accounts.staff.roles import StaffPermission, actor_has_permission, is_staff
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted
from tests.accounts.conftest import ACTOR, PASSWORD, MakeMember

pytestmark = pytest.mark.django_db

PASSKEY = {"type": Authenticator.Type.WEBAUTHN, "data": {"name": "mine", "credential": {}}}


def written(row: Any, **values: Any) -> None:
    """As SQL writes it, past every service."""
    with scopes_disabled():
        assert type(row)._base_manager.filter(pk=row.pk).update(**values) == 1


def fresh(user: User) -> User:
    return User.objects.get(pk=user.pk)


def adds_an_address(user: User) -> None:
    EmailAddress.objects.bulk_create([EmailAddress(user=user, email="evil@example.org", verified=True)])


def changes_an_address(user: User) -> None:
    EmailAddress.objects.filter(user=user).update(email="evil@example.org")


def adds_a_passkey(user: User) -> None:
    Authenticator.objects.bulk_create([Authenticator(user=user, **PASSKEY)])


WRITES: tuple[Callable[[User], None], ...] = (
    lambda user: written(user, password=make_password("mine")),
    lambda user: written(user, email="evil@example.org"),
    lambda user: written(user, is_staff=True, staff_role="security-officer"),
    lambda user: written(user, locked_by="staff"),
    lambda user: written(user, is_active=False),
    lambda user: written(user, seal=""),
    adds_an_address,
    changes_an_address,
    lambda user: written(EmailAddress.objects.get(user=user), verified=False),
    lambda user: EmailAddress.objects.filter(user=user)._raw_delete("default"),
    adds_a_passkey,
)


@pytest.mark.parametrize("write", WRITES)
def test_an_account_that_sql_changes_is_not_whole_and_no_save_of_ours_makes_it_so(
    alice: User, write: Callable[[User], None]
) -> None:
    assert is_whole(alice.pk)
    write(alice)
    assert not is_whole(alice.pk)
    person = fresh(alice)
    person.name = "Alice"
    person.save()
    person.set_password("another one, by a service")
    person.save()
    Authenticator.objects.create(user=person, **PASSKEY)
    for address in EmailAddress.objects.filter(user=person):
        address.delete()
    assert not is_whole(alice.pk)


def test_another_accounts_seal_fits_no_other_account(alice: User) -> None:
    other = create_user(actor=ACTOR, email="other@example.org", password=PASSWORD)
    written(alice, password=other.password, seal=other.seal, means=other.means)
    assert not is_sealed(fresh(alice))


def test_what_services_and_django_and_allauth_write_is_whole(alice: User, make_member: MakeMember) -> None:
    person = fresh(alice)
    person.set_password("changed by a page")
    person.save()
    assert is_whole(alice.pk)
    assert fresh(alice).check_password("changed by a page")  # which may hash it anew
    assert is_whole(alice.pk)
    passkey = Authenticator.objects.create(user=person, **PASSKEY)
    passkey.record_usage()
    assert is_whole(alice.pk)
    new = EmailAddress.objects.create(user=person, email="new@example.org", verified=True)
    new.set_as_primary()
    assert is_whole(alice.pk)
    person.save()  # the instance knows nothing of the new address
    passkey.delete()
    EmailAddress.objects.filter(user=person, primary=False).delete()
    assert is_whole(alice.pk)
    make_staff(actor=ACTOR, user=alice)
    lock_user(actor=ACTOR, user=alice)
    assert is_whole(alice.pk)
    assert is_staff(fresh(alice))


def test_accounts_that_djangos_own_commands_make_are_whole() -> None:
    call_command("createsuperuser", email="root@example.org", interactive=False, verbosity=0)
    root = User.objects.get(email="root@example.org")
    assert is_whole(root.pk)
    root.delete()
    assert not User.objects.filter(email="root@example.org").exists()


def test_staff_that_sql_made_have_no_role(alice: User) -> None:
    written(alice, is_staff=True, staff_role="security-officer")
    assert not is_staff(fresh(alice))
    assert not actor_has_permission(Actor.staff(fresh(alice)), StaffPermission.APPROVE)
    create_user(actor=ACTOR, email="officer@example.org", is_staff=True, staff_role="security-officer")
    officer = User.objects.get(email="officer@example.org")
    assert actor_has_permission(Actor.staff(officer), StaffPermission.APPROVE)


@pytest.mark.parametrize("values", [{"role": "owner"}, {"state": "active"}, {"seal": ""}])
def test_a_place_that_sql_raises_grants_nothing(make_member: MakeMember, values: dict[str, str]) -> None:
    owner, member = make_member("owner@example.org", role="owner"), make_member("member@example.org")
    if "state" in values:
        suspend_member(actor=ACTOR, membership=member, by=owner)
    written(member, **values)
    with scopes_disabled():
        now = Membership.objects.select_related("user", "tenant").get(pk=member.pk)
    assert not can(now, MemberPermission.VIEW_KEY)
    assert active_membership_of(now.user, now.tenant) is None
    change_role(actor=ACTOR, membership=now, role="auditor", by=None)
    with scopes_disabled():
        assert not MEMBERSHIP.fits(Membership.objects.get(pk=member.pk)), "a service does not seal what SQL wrote"


def test_an_invitation_that_sql_wrote_leads_nowhere(make_member: MakeMember) -> None:
    owner, token = make_member("owner@example.org", role="owner"), "t" * 43
    invitation = invite(actor=ACTOR, tenant=owner.tenant, email="b@example.org", by=owner)
    for values in ({"role": "owner"}, {"email": "evil@example.org"}, {"token_hash": token_hash(token)}):
        with scopes_disabled():
            row = Invitation.objects.get(pk=invitation.pk)
        written(row, **{"token_hash": token_hash(token), **values})
        assert find_invitation(tenant=owner.tenant, token=token) is None
    with scopes_disabled():
        row = Invitation.objects.get(pk=invitation.pk)
        written(row, seal=INVITATION.of(row))
    assert find_invitation(tenant=owner.tenant, token=token) is not None


def test_another_field_key_renews_what_fits_and_tells_of_what_does_not(
    make_member: MakeMember, settings: Settings
) -> None:
    first, second = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    settings.FIELD_KEYS = [first]
    good, bad = make_member("good@example.org"), make_member("bad@example.org")
    written(bad.user, password="x")
    adds_a_passkey(create_user(actor=ACTOR, email="third@example.org"))
    settings.FIELD_KEYS = [second, first]
    assert is_whole(good.user_id)
    changed, broken = seal_checks.renew_accounts()
    assert changed == 4  # two accounts, two places
    assert len(broken["accounts"]) == 2
    assert str(bad.user_id) in broken["accounts"]
    settings.FIELD_KEYS = [second]
    assert is_whole(good.user_id)
    assert not is_whole(bad.user_id)
    assert seal_checks.renew_accounts()[0] == 0


def test_staff_see_that_a_row_does_not_fit() -> None:
    cache.clear()
    assert seal_checks.seals() is None
    seal_checks.tell({"accounts": [], "keys": []})
    assert seal_checks.seals() is None
    seal_checks.tell({"accounts": ["a"], "keys": ["b", "c"]})
    finding = seal_checks.seals()
    assert finding is not None
    assert not finding.is_ok
    assert "1 accounts, 2 keys" in finding.detail
    assert json.loads(AuditRow.objects.get(tag=AuditTag.SEALS_BROKEN).data)["rows"] == ["a", "b", "c"]


def test_an_operator_takes_a_row_as_right_by_command_alone(alice: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("seal_rows")
    written(alice, email="married@example.org")
    with pytest.raises(CommandError, match="who can write the database"):
        call_command("seal_rows")
    assert str(alice.pk) in capsys.readouterr().out
    for actor in (Actor.user(alice), Actor.staff(alice), Actor.system("jobs")):
        with pytest.raises(NotPermitted):
            seal_account(actor=actor, user=alice, reason="x")
    with pytest.raises(CommandError, match="--reason"):
        call_command("seal_rows", "--account", "married@example.org")
    with pytest.raises(CommandError, match="no such row"):
        call_command("seal_rows", "--account", "nobody@example.org", "--reason", "x")
    call_command("seal_rows", "--account", "married@example.org", "--reason", "a new name")
    assert is_whole(alice.pk)
    with scopes_disabled():
        place = Membership.objects.get(user=alice)
    written(place, role="auditor")
    call_command("seal_rows", "--membership", "married@example.org", "news", "--reason", "by hand")
    call_command("seal_rows")
    rows = AuditRow.objects.filter(tag=AuditTag.ROW_SEALED).order_by("id")
    assert [json.loads(row.data)["what"] for row in rows] == ["account", "membership"]


def test_rows_of_an_installed_database_are_sealed_by_the_migration(alice: User) -> None:
    with scopes_disabled():
        User.objects.update(seal="", means="")
        Membership.objects.update(seal="")
    assert not is_whole(alice.pk)
    importlib.import_module("accounts.migrations.0006_seals").seal_all(apps, database.schema_editor)
    assert is_whole(alice.pk)
    with scopes_disabled():
        assert MEMBERSHIP.fits(Membership.objects.get(user=alice))
