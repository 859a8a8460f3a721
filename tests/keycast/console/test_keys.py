"""Keys in the admin: what finds them, what narrows their list, and their life as the log tells it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Tenant, User
from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.models import AuditRow
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keys.models import KeyState, PersonalKey
from tests.keycast.console.conftest import SEALED, World
from tests.keycast.console.test_pages import KEYS, found

RING = "projects/p/locations/europe-west1/keyRings/keycast"
HSM_ID = "user-5f1c7b60-7b1f-4c7e-9c51-2f3a0f5d8f11"
COSIGNER = "ab" * 32
NETHSM = f"t{'1' * 32}~k{'2' * 32}"


def split_key(world: World, **fields: Any) -> PersonalKey:
    name = f"{RING}/cryptoKeys/{HSM_ID}"
    wanted = {
        "tenant": world.tenant,
        "user": world.member,
        "name": "Split",
        "key_mode": "hsm",
        "hsm_provider": "google",
        "state": "active",
        "public_key": "d1" * 32,
        "encrypted_half_key": SEALED,
        "kek_version": "1",
        "kms_key_name": name,
        "kms_key_version": f"{name}/cryptoKeyVersions/1",
        "authoriser_public_key": "02" + "e1" * 32,
        "cosigner_public_key": COSIGNER,
    }
    return PersonalKey.objects.create(**{**wanted, **fields})


def page_of(client: Client, key: PersonalKey, **query: str) -> str:
    return client.get(f"{KEYS}{key.pk}/change/", query).content.decode()


def count(client: Client, **query: str) -> int:
    return int(client.get(KEYS, query).context["cl"].result_count)


# --- searching ---


@pytest.mark.parametrize(
    "query",
    [
        f"{RING}/cryptoKeys/{HSM_ID[:-1]}2",
        f"{RING}/cryptoKeys/{HSM_ID}/cryptoKeyVersions/2",
        "/cryptoKeys/",
        "cd" * 32,
        NETHSM,
        "new",
        "news.test.",
    ],
)
def test_almost_the_name_of_a_key_finds_nothing(operator_client: Client, world: World, query: str) -> None:
    split_key(world)
    assert found(operator_client, KEYS, query) == 0


@pytest.mark.parametrize(
    "query",
    [HSM_ID, f"{RING}/cryptoKeys/{HSM_ID}", f"{RING}/cryptoKeys/{HSM_ID}/cryptoKeyVersions/1", COSIGNER],
)
def test_a_split_key_is_found_by_its_hsm_key_and_its_cosigner(
    operator_client: Client, world: World, settings: Any, query: str
) -> None:
    settings.GCP_KEY_RING = RING
    split_key(world)
    assert found(operator_client, KEYS, query) == 1


def test_a_key_in_a_nethsm_is_found_by_its_name_there(operator_client: Client, world: World) -> None:
    split_key(
        world,
        hsm_provider="nethsm",
        kms_key_name=NETHSM,
        kms_key_version=NETHSM,
        encrypted_half_key=None,
        cosigner_public_key="",
    )
    assert found(operator_client, KEYS, NETHSM) == 1


def test_keys_are_found_by_tenant_and_by_a_remote_signer_key(operator_client: Client, world: World) -> None:
    remote = world.key.transport_keys.get().public_key
    for query in ("news", "NEWS", "news.test", remote):
        assert found(operator_client, KEYS, query) == 1, query


# --- narrowing ---


@pytest.mark.parametrize("tenant", ["nobody", "0" * 32, "\x00", "' OR 1=1 --", "{" + "0" * 32 + "}"])
def test_a_tenant_that_is_not_there_has_no_keys(operator_client: Client, tenant: str) -> None:
    assert count(operator_client, tenant=tenant) == 0


def test_the_list_is_narrowed_by_state_mode_provider_and_tenant(operator_client: Client, world: World) -> None:
    split_key(world, state="locked")
    other = Tenant.objects.create(slug="other", name="Other")
    split_key(world, tenant=other, public_key="d2" * 32)
    assert count(operator_client, state__exact="locked") == 1
    assert count(operator_client, key_mode__exact="hsm") == count(operator_client, hsm_provider__exact="google") == 2
    assert count(operator_client, kek_provider__exact="google") == 0
    for tenant in ("news", "news.test", str(world.tenant.pk)):
        assert count(operator_client, tenant=tenant) == 2, tenant
    assert count(operator_client, tenant="other", key_mode__exact="encrypted") == 0


def test_many_tenants_are_not_all_offered(operator_client: Client, django_assert_max_num_queries: Any) -> None:
    page = operator_client.get(KEYS).content.decode()
    assert "?tenant=news" in page
    Tenant.objects.bulk_create([Tenant(slug=f"t{n}", name=f"Tenant {n}") for n in range(60)])
    with django_assert_max_num_queries(12):
        page = operator_client.get(KEYS, {"tenant": "t5", "state__exact": "active"}).content.decode()
    assert "Tenant 7" not in page
    assert '<input type="hidden" name="state__exact" value="active">' in page
    assert 'value="t5"' in page


def test_a_list_says_how_a_key_is_kept_by_its_honest_name(operator_client: Client, world: World) -> None:
    split_key(world)
    page = operator_client.get(KEYS).content.decode()
    assert "HSM-authorised, split key" in page


def test_a_list_says_when_an_app_last_used_a_key(operator_client: Client, world: World) -> None:
    type(world.connection).objects.update(last_used_at=timezone.now() - timedelta(days=3))
    assert f"{timezone.now() - timedelta(days=3):%B}"[:3] in operator_client.get(KEYS).content.decode()


# --- one key ---


def live(key: PersonalKey, tag: AuditTag, outcome: AuditOutcome = AuditOutcome.OK, **fields: Any) -> None:
    data = {name: fields.pop(name) for name in ("reason", "due") if name in fields}
    actor = fields.pop("actor", Actor.system("jobs"))
    record(AuditEntry(chain_of(key.tenant_id), tag, outcome, actor, key_id=key.id.hex, data=data, **fields))


def test_the_life_of_a_key_says_who_and_why_and_leaves_out_its_use(operator_client: Client, world: World) -> None:
    officer = User.objects.create_user("officer@platform.test", "x")
    live(world.key, AuditTag.KEY_LOCKED, actor=Actor.staff(officer), reason="lost <phone>")
    for number in range(5):
        live(world.key, AuditTag.SIGN_EVENT, request_id=f"{number:064x}")
    page = page_of(operator_client, world.key)
    assert "Key locked" in page
    assert "officer@platform.test (platform staff)" in page
    assert "lost &lt;phone&gt;" in page
    assert "Sign an event" not in page


def test_the_life_of_another_tenants_key_is_not_told(operator_client: Client, world: World) -> None:
    other = Tenant.objects.create(slug="other", name="Other")
    record(
        AuditEntry(
            chain_of(other.id), AuditTag.KEY_LOCKED, AuditOutcome.OK, Actor.system("jobs"), key_id=world.key.id.hex
        )
    )
    assert "Key locked" not in page_of(operator_client, world.key)


def test_a_long_life_is_shown_in_pages(operator_client: Client, world: World) -> None:
    for number in range(45):
        live(world.key, AuditTag.KEY_RENAMED, reason=f"number {number};")
    first = page_of(operator_client, world.key)
    assert "number 44;" in first
    assert "number 24;" not in first
    older = AuditRow.objects.filter(tag=AuditTag.KEY_RENAMED).order_by("-id")[19].pk
    assert f"?life={older}#life" in first
    second = page_of(operator_client, world.key, life=str(older))
    assert "number 24;" in second
    assert "number 44;" not in second
    assert "number 44;" in page_of(operator_client, world.key, life="nonsense")


def test_a_page_costs_the_same_however_much_happened(
    operator_client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        live(world.key, AuditTag.KEY_RENAMED)
        live(world.key, AuditTag.SIGN_EVENT, request_id=f"{number:064x}")
    with django_assert_max_num_queries(24):
        page_of(operator_client, world.key)


def test_a_key_that_waits_or_failed_says_what_to_do(operator_client: Client, world: World) -> None:
    waiting = split_key(
        world, state=KeyState.PENDING, public_key=None, encrypted_half_key=None, state_reason="The HSM is busy."
    )
    page = page_of(operator_client, waiting)
    assert "Being created. It waits: The HSM is busy." in page
    assert "gives up" in page
    PersonalKey.objects.filter(pk=waiting.pk).update(state=KeyState.FAILED, kms_key_name="", kms_key_version="")
    assert "Try again: a new key takes its place." in page_of(operator_client, waiting)
    PersonalKey.objects.filter(pk=waiting.pk).update(is_imported=True)
    assert "import it again" in page_of(operator_client, waiting)


def test_what_there_is_in_the_hsm_is_shown_and_nothing_sealed(operator_client: Client, world: World) -> None:
    key = split_key(world)
    page = page_of(operator_client, key)
    for text in (key.kms_key_name, key.authoriser_public_key, COSIGNER, "Google Cloud KMS"):
        assert text in page
    assert SEALED.hex() not in page


def test_the_apps_of_a_key_are_shown_up_to_a_number(operator_client: Client, world: World) -> None:
    page = page_of(operator_client, world.key)
    assert "Reader" in page
    first = world.connection
    for number in range(25):
        first.pk = uuid.uuid4()
        first.name, first.client_public_key, first.secret_hash = f"App {number}", f"{number:064x}", None
        first.created_at = timezone.now()
        first.save(force_insert=True)
    page = page_of(operator_client, world.key)
    assert "App 24" in page
    assert f"?q={world.key.id}" in page
