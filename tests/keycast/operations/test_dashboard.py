"""The dashboard: who gets it, what it says, what it costs, and that nothing in it is taken for markup."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django_scopes import scopes_disabled
from pytest_django import Settings

from accounts.models import StaffRole, Tenant
from bunker.models import TrafficMinute, WorkerSeat
from bunker.traffic.counts import COLUMNS, EVERYONE
from keycast.console import overview
from keycast.operations import components, health, heartbeats, jobs
from keycast.operations.health import HealthFinding, HealthReport, Severity
from keycast.operations.models import Sign
from keys.models import PersonalKey
from tests.keycast.console.conftest import World, signed_in, staff

LIVE = "/admin/live/"
EVIL = '"><script>alert(1)</script>'


def minute(tenant: uuid.UUID = EVERYONE, **numbers: int) -> None:
    TrafficMinute.objects.create(minute=int(time.time()) // 60 - 2, worker="w", tenant_id=tenant, **numbers)


def service(name: str, *, good_at: int = 0, bad_at: int = 0, is_open: bool = False) -> dict[str, Any]:
    return {"name": name, "open": is_open, "good_at": good_at, "bad_at": bad_at, "error": ""}


# --- who ---


def test_the_live_part_is_for_staff_who_proved_a_second_factor(world: World) -> None:
    assert Client(HTTP_HOST="admin.test").get(LIVE).status_code == 302
    assert signed_in(world.member).get(LIVE, follow=True).status_code == 403
    without = staff("new@platform.test", second_factor=False)
    answer = signed_in(without).get(LIVE)
    assert answer.status_code == 302
    assert "X-Keycast-Live" not in answer


def test_the_live_part_is_for_those_whose_duty_it_is(world: World) -> None:
    assert signed_in(staff("support@platform.test", role=StaffRole.SUPPORT)).get(LIVE).status_code == 403
    assert signed_in(staff("auditor@platform.test", role=StaffRole.AUDITOR)).get(LIVE).status_code == 200


def test_the_live_part_is_marked_and_never_stored(operator_client: Client) -> None:
    answer = operator_client.get(LIVE)
    assert answer["X-Keycast-Live"] == "1"
    assert "no-store" in answer["Cache-Control"]
    assert "<html" not in answer.content.decode()
    assert operator_client.post(LIVE).status_code == 405


# --- what ---


def test_without_any_use_there_is_a_sentence_and_no_bar(operator_client: Client) -> None:
    page = operator_client.get(LIVE).content.decode()
    assert "No requests in this span." in page
    assert "<title>" not in page.partition("</title>")[2].replace("<title id=", "")


def test_figures_of_all_and_of_one_tenant(operator_client: Client, world: World) -> None:
    minute(signed=1234, refused=66, ms_5=1234)
    minute(world.tenant.id, signed=34, ms_5=34)
    everybody = operator_client.get(LIVE).content.decode()
    assert "<strong>1,234</strong> signatures" in everybody
    assert "<strong>5.1 %</strong>" in everybody
    one = operator_client.get(LIVE, {"tenant": "news", "span": "day"}).content.decode()
    assert "<strong>34</strong> signatures" in one
    assert "Last day: 34 signatures" in one


def test_what_workers_have_not_written_yet_is_shown_at_once(operator_client: Client) -> None:
    row = [7 if name == "signed" else 0 for name in COLUMNS]
    WorkerSeat.objects.update(status={"minutes": [[int(time.time()) // 60, *row]]})
    assert "<strong>7</strong> signatures" in operator_client.get(LIVE).content.decode()


@pytest.mark.parametrize("path", ["/admin/", LIVE])
@pytest.mark.parametrize("tenant", ["nobody", EVIL, "'--", "\x00"])
def test_an_unknown_tenant_is_said_to_be_unknown(operator_client: Client, path: str, tenant: str) -> None:
    page = operator_client.get(path, {"tenant": tenant, "span": EVIL}).content.decode()
    assert "There is no tenant with the short name" in page
    assert "<script>alert" not in page


def test_names_are_text_wherever_they_stand(operator_client: Client, world: World) -> None:
    Tenant.objects.update(name=EVIL)
    evil = {
        "relays": [{"url": EVIL, "status": EVIL, "score": EVIL, "queued": EVIL}],
        "services": [service(EVIL, bad_at=1)],
        "signers": EVIL,
    }
    WorkerSeat.objects.update(host=EVIL, status=evil)
    page = operator_client.get("/admin/").content.decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 6


@pytest.mark.parametrize("status", [{}, {"relays": [], "minutes": [[]], "services": [{}, 7]}, {"services": None}])
def test_a_worker_of_another_version_breaks_nothing(operator_client: Client, status: Any) -> None:
    WorkerSeat.objects.update(status=status)
    assert operator_client.get(LIVE).status_code == 200


def test_the_worst_comes_first_and_says_what_to_do_and_where(
    operator_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (
        HealthFinding("note", False, "A note.", "Read it.", Severity.NOTE),
        HealthFinding("worst", False, "It burns.", "Run.", Severity.CRITICAL, "admin:jobs"),
        HealthFinding("fine", True, "Fine."),
        HealthFinding("middle", False, "It smells.", "Sniff.", Severity.WARNING, "admin:no-such-page"),
    )
    monkeypatch.setattr(health, "report", lambda: HealthReport(found))
    page = operator_client.get(LIVE).content.decode()
    assert page.index("It burns.") < page.index("It smells.") < page.index("A note.")
    assert 'href="/admin/jobs/"' in page
    assert "Fine." not in page


def test_keys_are_counted_by_tenant_with_the_rest_together(world: World) -> None:
    with scopes_disabled():
        for number in range(overview.TENANTS_SHOWN + 2):
            tenant = Tenant.objects.create(slug=f"t{number}", name=f"T {number}")
            for copy in range(2 if number else 3):
                add_key(world, tenant, f"{number:03}{copy}")
        found = overview.collect()["tenants"]
    assert [row["count"] for row in found] == [3, *[2] * (overview.TENANTS_SHOWN - 1), 5]
    assert found[0]["tenant"].slug == "t0"
    assert found[-1]["tenant"] is None


def add_key(world: World, tenant: Tenant, mark: str) -> None:
    PersonalKey.objects.create(
        tenant=tenant,
        user=world.member,
        name="Key",
        key_mode="encrypted",
        kek_provider="local",
        state="active",
        public_key=mark.rjust(64, "0"),
        encrypted_secret_key=b"x",
        kek_version="1",
    )


# --- health of parts ---


def part(name: str) -> components.ComponentStatus:
    with scopes_disabled():
        return next(found for found in overview.collect()["parts"] if found.name == name)


def test_parts_that_never_spoke_are_not_said_to_be_well(db: None) -> None:
    assert part("Built-in relay").state == components.QUIET
    assert part("Bunker workers").state == components.BAD
    assert part("Signer").state == components.BAD
    assert part("Jobs").state == components.QUIET
    assert part("Audit log").state == components.QUIET


def test_parts_that_are_well_say_so(world: World) -> None:
    jobs.heartbeat()
    heartbeats.record_heartbeat("web:box:1", {"relay_clients": 12})
    assert part("Built-in relay").detail.startswith("12 clients")
    assert [part(name).state for name in ("Built-in relay", "Outbound relays", "Bunker workers", "Jobs")] == [
        "good"
    ] * 4


def test_the_audit_log_says_how_long_it_is_and_when_it_was_looked_at(world: World) -> None:
    assert "1 row in 1 chain, no checkpoint yet; not verified yet" in part("Audit log").detail
    assert jobs.verify_audit_log()
    assert part("Audit log").state == components.GOOD
    assert re.search(r"verified \d+ seconds ago: intact", part("Audit log").detail)


def test_a_web_process_that_is_gone_does_not_count(db: None) -> None:
    heartbeats.record_heartbeat("web:box:1", {"relay_clients": 12})
    Sign.objects.update(at=int((time.time() - 120) * 1000))
    assert part("Built-in relay").state == components.QUIET


@pytest.mark.parametrize(
    ("told", "state", "words"),
    [
        ({"good_at": 90, "bad_at": 30}, components.BAD, "The last call failed"),
        ({"good_at": 30, "bad_at": 90, "is_open": True}, components.BAD, "Left alone for a while"),
        ({"good_at": 9000, "bad_at": 8000}, components.QUIET, "nobody has called since"),
        ({"good_at": 30, "bad_at": 90}, components.GOOD, "Last good answer"),
    ],
)
def test_a_service_is_as_its_callers_see_it(world: World, told: dict[str, Any], state: str, words: str) -> None:
    """``told``: how many seconds ago."""
    now = int(time.time())
    times = {name: now - told[name] for name in ("good_at", "bad_at")}
    status = {"services": [service("Cloud KMS, signing", **times, is_open=told.get("is_open", False))]}
    WorkerSeat.objects.update(status=status, seen_at=time.time_ns() // 1_000_000)
    found = part("Cloud KMS, signing")
    assert found.state == state
    assert words in found.detail
    finding = next((each for each in health.report().findings if each.name == "services"), None)
    assert (finding is None) == (state != components.BAD)


def test_an_hsm_that_nobody_called_yet_is_named(world: World, settings: Settings) -> None:
    settings.HSM_PROVIDERS = ["nethsm"]
    assert part("NetHSM").state == components.QUIET


# --- what it costs ---


def test_the_page_costs_the_same_however_much_there_is(
    operator_client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(60) as small:
        operator_client.get(LIVE)
    with scopes_disabled():
        for number in range(12):
            tenant = Tenant.objects.create(slug=f"t{number}", name=f"T {number}")
            add_key(world, tenant, f"{number:04}")
            minute(tenant.id, signed=1)
            WorkerSeat.objects.create(id=f"x{number}", host="box", pid=number, seen_at=time.time_ns() // 1_000_000)
            get_user_model().objects.create_user(f"m{number}@news.test", "correct horse battery")
    with django_assert_max_num_queries(60) as large:
        operator_client.get(LIVE)
    assert len(large) == len(small)


def test_the_page_itself_has_nothing_inline(operator_client: Client) -> None:
    minute(signed=5, ms_5=5)
    page = operator_client.get("/admin/").content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", page)
    assert '"allowEval": false' in page
