"""Who gets into the admin: every page, for everyone who must not, before the one who may."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.test import Client

from accounts.models import StaffRole, User
from accounts.staff import pages
from tests.keycast.console.conftest import MARKER, PLATFORM, SEALED, World, add_second_factor, signed_in, staff
from tests.keycast.console.pages import addresses, unclassified

OPEN_TO_ALL = {"/admin/jsi18n/"}
"""Django's translation catalogue: the same for everybody, and nobody's secret."""

LEAVING = {"/admin/logout/"}


def closed(world: World, walker: User | None = None) -> list[str]:
    walker = walker or User.objects.filter(is_staff=True).first() or staff("walker@platform.test")
    return [address for address in addresses(world, walker) if address not in OPEN_TO_ALL | LEAVING]


def test_every_admin_page_declares_its_staff_permission() -> None:
    assert unclassified() == []


def test_a_new_page_that_says_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pages._PAGES, "new", ("new/", lambda request: None))
    assert unclassified() == ["new"]


def test_only_our_own_models_are_there() -> None:
    assert {model._meta.label for model in admin.site._registry} == {
        "accounts.Approval",
        "accounts.Tenant",
        "accounts.User",
        "audit.AuditChain",
        "audit.AuditRow",
        "bunker.Connection",
        "bunker.ShardLease",
        "bunker.WorkerSeat",
        "keys.HsmInventory",
        "keys.HsmOrphan",
        "keys.PersonalKey",
        "keys.Rotation",
    }


def test_nobody_is_let_in_without_signing_in(world: World) -> None:
    client = Client(HTTP_HOST=PLATFORM)
    for address in closed(world):
        response = client.get(address, follow=True)
        assert response.redirect_chain[-1][0].startswith("/account/login/?next="), address
        assert client.post(address, {"reason": "x"}).status_code == 302, address


@pytest.mark.parametrize("second_factor", [False, True])
def test_a_member_is_refused_everywhere(world: World, second_factor: bool) -> None:
    if second_factor:
        add_second_factor(world.member)
    client = signed_in(world.member)
    for address in closed(world):
        assert client.get(address, follow=True).status_code == 403, address
        assert client.post(address, {"reason": "x"}, follow=True).status_code in {403, 405}, address


def test_staff_without_a_second_factor_are_led_to_set_one_up(world: World) -> None:
    client = signed_in(staff("new@platform.test", second_factor=False))
    for address in closed(world):
        response = client.get(address, follow=True)
        assert response.redirect_chain[-1][0] == "/account/2fa/", address
        assert response.status_code == 200, address
        assert client.post(address, {"reason": "x"})["Location"] == "/account/2fa/", address


def test_recovery_codes_alone_are_no_second_factor(world: World) -> None:
    user = staff("new@platform.test", second_factor=False)
    Authenticator.objects.create(user=user, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert signed_in(user).get("/admin/")["Location"] == "/account/2fa/"


def test_a_superuser_who_is_no_staff_is_refused(world: World) -> None:
    user = staff("former@platform.test")
    user.is_staff, user.staff_role, user.is_superuser = False, "", True
    user.save()
    assert signed_in(user).get("/admin/", follow=True).status_code == 403


def test_staff_who_are_deactivated_are_out_at_once(world: World) -> None:
    user = staff("gone@platform.test")
    client = signed_in(user)
    assert client.get("/admin/").status_code == 200
    user.is_active = False
    user.save()
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("host", ["news.test", "elsewhere.test"])
def test_the_admin_answers_on_the_platforms_host_only(operator_client: Client, world: World, host: str) -> None:
    for address in closed(world):
        assert operator_client.get(address, HTTP_HOST=host).status_code == 404, address


@pytest.mark.parametrize("page", ["add", "delete", "change"])
def test_no_row_changes_by_djangos_own_forms(operator_client: Client, world: World, page: str) -> None:
    for model in admin.site._registry:
        before = list(model._default_manager.order_by("pk").values())
        stem = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        address = f"{stem}add/" if page == "add" else f"{stem}{before[0][model._meta.pk.attname]}/{page}/"
        data: dict[str, Any] = {**dict.fromkeys(before[0], "1"), "post": "yes", "_save": "Save"}
        assert operator_client.post(address, data).status_code == 403, address
        action = {"action": "delete_selected", "_selected_action": before[0][model._meta.pk.attname], "post": "yes"}
        operator_client.post(stem, action)
        assert list(model._default_manager.order_by("pk").values()) == before


@pytest.mark.parametrize("role", [StaffRole.SECURITY_OFFICER, StaffRole.SUPPORT])
def test_no_page_shows_material_secrets_or_their_hashes(role: StaffRole, world: World) -> None:
    import base64
    import hashlib

    hidden = [
        MARKER.decode("latin-1"),
        MARKER.hex(),
        base64.b64encode(SEALED).decode()[:24],
        base64.urlsafe_b64encode(SEALED).decode()[:24],
        hashlib.sha256(MARKER).hexdigest(),
        world.member.password,
        str(SEALED)[:30],
    ]
    walker = staff("walker@platform.test", role=role)
    client = signed_in(walker)
    for address in closed(world, walker):
        text = client.get(address, follow=True).content.decode()
        assert not [secret for secret in hidden if secret in text], address
        assert SEALED[5:20] not in text.encode(), address


def test_what_apps_say_of_themselves_is_escaped(operator_client: Client, world: World) -> None:
    page = operator_client.get(f"/admin/bunker/connection/{world.connection.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
    assert 'href="javascript:' not in page


def test_pages_are_under_the_strict_policy_and_have_nothing_inline(operator_client: Client, world: World) -> None:
    import re

    for address in closed(world):
        response = operator_client.get(address, follow=True)
        if response.status_code == 405:
            continue
        policy = response["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = response.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")[^>]*>", text), address
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", text), address
