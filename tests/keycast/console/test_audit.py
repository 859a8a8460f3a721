"""The audit log's pages for staff: browsing at a constant cost, verification in the background, taking rows out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django_q.models import OrmQ
from pytest_django import Settings

from accounts.models import StaffRole, User
from keycast.audit import exporting, jobs, signing, verification, verification_runs
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow, AuditVerification
from keycast.audit.offline import check
from keycast.audit.services import chain_of, record
from keycast.audit.statements import Keyring
from keycast.audit.tags import AuditOutcome, AuditTag
from tests.keycast.audit.conftest import KEY, tamper
from tests.keycast.console.conftest import World, prove_again, signed_in, staff

LOG, VERIFICATION = "/admin/audit/auditrow/", "/admin/audit/verification/"
START, EXPORT = "/admin/audit/verification/start/", "/admin/audit/export/"


@transaction.atomic
def note(world: World, count: int, tag: AuditTag = AuditTag.KEY_RENAMED) -> None:
    for number in range(count):
        actor = Actor.user(world.member)
        record(
            AuditEntry(
                chain_of(world.tenant.id), tag, AuditOutcome.OK, actor, key_id=world.key.id.hex, data={"n": number}
            )
        )


@pytest.fixture
def auditor(world: World) -> User:
    return staff("auditor@platform.test", role=StaffRole.AUDITOR)


@pytest.fixture
def auditor_client(auditor: User) -> Client:
    return signed_in(auditor)


def test_pages_follow_each_other_back_and_forth(auditor_client: Client, world: World) -> None:
    note(world, 120)
    asked, seen = f"chain={world.tenant.id.hex}", []
    for _ in range(3):
        page = auditor_client.get(f"{LOG}?{asked}")
        seen += [row.line.sequence for row in page.context["rows"]]
        asked = page.context["older"]
    assert seen == list(range(121, 0, -1))
    assert not asked
    newer = auditor_client.get(f"{LOG}?{page.context['newer']}")
    assert [row.line.sequence for row in newer.context["rows"]] == list(range(71, 21, -1))


def test_a_page_costs_the_same_number_of_queries_however_many_rows(
    auditor_client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    note(world, 60)
    for query in ({}, {"chain": world.tenant.id.hex}, {"q": world.key.id.hex}, {"tag": AuditTag.KEY_DESTROYED}):
        with django_assert_max_num_queries(20):
            assert auditor_client.get(LOG, query).status_code == 200


def test_what_people_and_apps_say_of_themselves_is_escaped(auditor_client: Client, world: World) -> None:
    entry = AuditEntry(
        "platform", AuditTag.KEY_LOCKED, AuditOutcome.OK, Actor.client("a" * 64, "<b>x"), data={"reason": "<script>"}
    )
    with transaction.atomic():
        record(entry)
    text = auditor_client.get(LOG).content.decode()
    assert "&lt;b&gt;x" in text
    assert "<script>\n" not in text
    assert "&lt;script&gt;" in text


# --- verification ---


def test_asking_needs_a_post_and_a_word(auditor_client: Client) -> None:
    assert auditor_client.get(START).status_code == 405
    auditor_client.post(START, {})
    assert not AuditVerification.objects.exists()


def test_a_verification_goes_on_in_the_background_and_ends_with_its_age(auditor_client: Client, world: World) -> None:
    assert "not been verified yet" in auditor_client.get(VERIFICATION).content.decode()
    auditor_client.post(START, {"confirm": "yes"})
    run = AuditVerification.objects.get()
    assert (run.state, run.asked_by, OrmQ.objects.count()) == ("waiting", "auditor@platform.test", 1)
    answer = auditor_client.get(VERIFICATION)
    assert "Being verified" in answer.content.decode()
    assert answer["Refresh"] == "5"
    again = auditor_client.post(START, {"confirm": "yes"}, follow=True).content.decode()
    assert "being verified already" in again
    assert jobs.carry_on_verification(run.id)
    answer = auditor_client.get(VERIFICATION)
    assert "Intact" in answer.content.decode()
    assert "Refresh" not in answer
    assert AuditRow.objects.get(tag=AuditTag.AUDIT_VERIFIED).chain == "platform"


def test_a_broken_row_is_named(auditor_client: Client, world: World) -> None:
    note(world, 3)
    tamper("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 2")
    auditor_client.post(START, {"confirm": "yes"})
    jobs.carry_on_verifications()
    page = auditor_client.get(VERIFICATION).content.decode()
    assert "News, row 2:" in page
    assert "Broken" in page


def test_a_run_is_carried_on_where_its_process_was_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, signer: signing.StatementSigner
) -> None:
    note(world, 30)
    jobs.sign_checkpoints()
    monkeypatch.setattr(verification, "CHUNK", 4)
    monkeypatch.setattr(verification_runs, "SLICE_SECONDS", 0.0)
    run = verification_runs.start(actor=Actor.system("test"))
    steps = 0
    while not verification_runs.carry_on(run.id, seconds=0.0):
        steps += 1
        AuditVerification.objects.filter(id=run.id, seen_at__isnull=False).update(seen_at=None)
        if steps > 50:
            pytest.fail("it never ends")
        monkeypatch.setattr(verification_runs, "SLICE_SECONDS", 0.01)
        verification_runs.carry_on(run.id, seconds=0.005)
        AuditVerification.objects.filter(id=run.id, seen_at__isnull=False).update(seen_at=None)
        run.refresh_from_db()
        if run.is_finished:
            break
    run.refresh_from_db()
    assert (run.state, run.rows, run.report["checkpoints"]) == ("intact", 31, 7)


def test_a_run_that_somebody_carries_on_is_left_to_them(world: World) -> None:
    from django.utils import timezone

    run = verification_runs.start(actor=Actor.system("test"))
    AuditVerification.objects.update(state="running", seen_at=timezone.now())
    assert verification_runs.carry_on(run.id) is False
    assert verification_runs.stalled() == []


def test_the_daily_one_begins_behind_what_was_verified(world: World, signer: signing.StatementSigner) -> None:
    note(world, 20)
    jobs.sign_checkpoints()
    first = jobs.verify_daily()
    assert first is not None
    assert (first.is_full, first.state) == (True, "intact")
    note(world, 7)
    second = jobs.verify_daily()
    assert second is not None
    assert (second.is_full, second.state) == (False, "intact")
    assert second.rows < first.rows
    tamper("UPDATE audit_auditrow SET data = '{}' WHERE sequence = 25")
    third = jobs.verify_daily()
    assert third is not None
    assert third.state == "broken"
    fourth = jobs.verify_daily()
    assert fourth is not None
    assert fourth.is_full, "after a break everything is looked at"


# --- taking out ---


def form(world: World, **changes: str) -> dict[str, str]:
    return {"chain": world.tenant.id.hex, "reason": "a subpoena", **changes}


def test_operators_and_support_take_nothing_out(world: World) -> None:
    for role in (StaffRole.OPERATOR, StaffRole.SUPPORT):
        client = signed_in(staff(f"{role}@platform.test", role=role))
        assert client.post(EXPORT, form(world)).status_code == 403
    assert not AuditRow.objects.filter(tag=AuditTag.AUDIT_EXPORTED).exists()


@pytest.mark.parametrize("missing", ["chain", "reason"])
def test_without_a_chain_or_a_reason_nothing_is_taken_out(missing: str, auditor_client: Client, world: World) -> None:
    prove_again(auditor_client)
    answer = auditor_client.post(EXPORT, form(world, **{missing: ""}))
    assert "This field is required" in answer.content.decode()
    assert not AuditRow.objects.filter(tag=AuditTag.AUDIT_EXPORTED).exists()


def test_the_second_factor_is_asked_for_afresh(auditor_client: Client, world: World) -> None:
    answer = auditor_client.post(EXPORT, form(world))
    assert answer.status_code == 302
    assert "reauthenticate" in answer["Location"]
    kept = auditor_client.get(EXPORT).content.decode()
    assert "a subpoena" in kept
    assert not AuditRow.objects.filter(tag=AuditTag.AUDIT_EXPORTED).exists()


def test_too_much_at_once_is_refused_in_words(auditor_client: Client, world: World, settings: Settings) -> None:
    settings.AUDIT_EXPORT_ROWS = 3
    note(world, 5)
    prove_again(auditor_client)
    assert "Choose a shorter one" in auditor_client.post(EXPORT, form(world)).content.decode()


def test_what_is_taken_out_proves_itself_and_is_recorded_with_its_reason(
    auditor_client: Client, world: World, signer: signing.StatementSigner
) -> None:
    note(world, 12)
    prove_again(auditor_client)
    answer = auditor_client.post(EXPORT, form(world))
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    lines = b"".join(answer).splitlines(keepends=True)
    found = check(lines, Keyring([signing.LocalStatementSigner.from_text(KEY).public_key]))
    assert (found.chain, found.rows, found.unsigned) == (world.tenant.id.hex, 13, 0)
    row = AuditRow.objects.get(tag=AuditTag.AUDIT_EXPORTED)
    assert (row.chain, row.actor_type, json.loads(row.data)["reason"]) == (world.tenant.id.hex, "staff", "a subpoena")


async def test_a_download_is_streamed_from_an_asynchronous_server_too(world: World, rf: Any) -> None:
    from django.test import AsyncRequestFactory

    from keycast.audit import browser_exports
    from keycast.audit.selectors import AuditFilters

    found = browser_exports.response(
        AsyncRequestFactory().get("/"), "x", "platform", AuditFilters(), exporting.ExportRange(1, 0)
    )
    assert found.is_async
    assert b"keycast.audit.export.1" in b"".join([part async for part in found])
