"""The permission matrix, walked: every admin page, with every role, read and written to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.core import serializers
from django.test import Client

from accounts.models import Approval, StaffRole, User
from accounts.staff.roles import PERMISSIONS, TITLES, StaffPermission, may
from keycast.audit.models import AuditRow
from tests.keycast.console.conftest import PLATFORM, World, signed_in, staff
from tests.keycast.console.pages import AdminPage, pages
from tests.paths import ROOT
from tests.rows import change

DOCS = ROOT / "docs" / "security-model.md"
NOT_WALKED = {"login", "logout", "jsi18n", "password_change", "password_change_done"}
"""Django's ways in and out: they lead staff of every role elsewhere."""


def is_allowed(role: StaffRole, page: AdminPage) -> bool:
    return not page.is_form and all(role in PERMISSIONS[permission] for permission in page.permissions)


def walked(world: World, walker: User) -> list[AdminPage]:
    return [page for page in pages(world, walker) if page.name not in NOT_WALKED]


def everything() -> str:
    models = [model for model in admin.site._registry if model is not AuditRow]
    return serializers.serialize("json", [row for model in models for row in model._default_manager.order_by("pk")])


@pytest.mark.parametrize("role", StaffRole)
def test_each_role_reads_what_the_matrix_allows_and_nothing_else(role: StaffRole, world: World) -> None:
    walker = staff(f"{role}@platform.test", role=role)
    client = signed_in(walker)
    for page in walked(world, walker):
        status = client.get(page.address).status_code
        if is_allowed(role, page):
            assert status in {200, 302, 405}, (page, status)
        else:
            assert status in ({403, 404} if page.name == "app_list" else {403}), (page, status)


@pytest.mark.parametrize("role", StaffRole)
def test_each_role_is_refused_to_write_what_the_matrix_does_not_allow(role: StaffRole, world: World) -> None:
    walker = staff(f"{role}@platform.test", role=role)
    client = signed_in(walker)
    before, form = everything(), {"reason": "x", "term": "news", "name": "stolen", "is_staff": "1", "_save": "Save"}
    forbidden = [page for page in walked(world, walker) if not is_allowed(role, page)]
    for page in forbidden:
        status = client.post(page.address, form).status_code
        assert status in {"app_list": {403, 404}, "autocomplete": {405}}.get(page.name, {403}), (page, status)
    assert everything() == before


@pytest.mark.parametrize("role", StaffRole)
def test_a_post_without_a_reason_changes_nothing_for_anybody(role: StaffRole, world: World) -> None:
    walker = staff(f"{role}@platform.test", role=role)
    client = signed_in(walker)
    before = everything()
    for page in walked(world, walker):
        if page.name == "support_close":
            continue  # closing one's own look needs no reason
        status = client.post(page.address, {}).status_code
        assert status in {200, 302, 403, 404, 405}, (page, status)
    assert everything() == before


def test_no_page_takes_a_post_from_another_site(world: World) -> None:
    walker = staff("walker@platform.test", role=StaffRole.SECURITY_OFFICER)
    client = signed_in(walker, Client(enforce_csrf_checks=True, HTTP_HOST=PLATFORM))
    before = everything()
    for page in walked(world, walker):
        assert client.post(page.address, {"reason": "x", "term": "news"}).status_code in {403, 405}, page
    assert everything() == before


def test_the_superuser_flag_counts_for_nothing(world: World) -> None:
    walker = staff("root@platform.test", role=StaffRole.SUPPORT)
    walker.is_superuser = True
    walker.save()
    assert not any(
        may(walker, permission) for permission in StaffPermission if StaffRole.SUPPORT not in PERMISSIONS[permission]
    )
    assert signed_in(walker).get(f"/admin/keys/personalkey/{world.key.pk}/change/").status_code == 403


def test_a_role_that_ends_ends_in_the_same_session(operator: User, operator_client: Client, world: World) -> None:
    address = f"/admin/keys/personalkey/{world.key.pk}/do/lock/"
    assert operator_client.get(address).status_code == 200
    change(operator, staff_role=StaffRole.AUDITOR)
    assert operator_client.get(address).status_code == 403
    change(operator, is_staff=False, staff_role="")
    assert operator_client.get(address, follow=True).status_code == 403


def test_a_page_offers_only_what_its_reader_may_do(world: World) -> None:
    page = f"/admin/keys/personalkey/{world.key.pk}/change/"
    assert b"/do/lock/" in signed_in(staff("op@platform.test")).get(page).content
    assert b"/do/" not in signed_in(staff("au@platform.test", role=StaffRole.AUDITOR)).get(page).content


def test_support_start_where_they_say_why(world: World) -> None:
    client = signed_in(staff("support@platform.test", role=StaffRole.SUPPORT))
    assert client.get("/admin/")["Location"] == "/admin/support/"


def test_every_staff_permission_has_a_role_and_a_title() -> None:
    assert set(PERMISSIONS) == set(TITLES) == set(StaffPermission)
    assert all(PERMISSIONS.values())


def test_the_documented_matrix_is_the_one_in_force() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text[text.index("| duty |") :].split("\n\n")[0].splitlines()
    roles = [cell.strip() for cell in table[0].strip("|").split("|")][1:]
    assert roles == [role.label.lower() for role in StaffRole]
    documented = {cells[0]: [cell == "yes" for cell in cells[1:]] for cells in map(_cells, table[2:])}
    assert documented == {
        TITLES[permission]: [role in PERMISSIONS[permission] for role in StaffRole] for permission in StaffPermission
    }


def _cells(line: str) -> list[str]:
    return [re.sub(r"\s+", " ", cell).strip() for cell in line.strip().strip("|").split("|")]


def test_open_requests_are_counted_in_the_header_for_those_who_decide(world: World, officer_client: Any) -> None:
    assert b"1 to decide" in officer_client.get("/admin/accounts/approval/").content
    assert b"to decide" not in signed_in(staff("op@platform.test")).get("/admin/accounts/approval/").content
    Approval.objects.update(state="expired", decided_at="2026-01-01T00:00Z")
    assert b"to decide" not in officer_client.get("/admin/accounts/approval/").content
