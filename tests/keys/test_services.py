"""Who may do what to a key, what each verb leaves behind, and what it refuses."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import LockAuthority, Membership, Role, User
from keycast.audit.entries import Actor
from keycast.audit.models import AuditRow
from keycast.base.errors import NotFound, NotPermitted
from keys import SHARDS, selectors, services, signals
from keys.errors import (
    InvalidText,
    InvalidTransition,
    KekUnavailable,
    KeyDamaged,
    KeyModeNotOffered,
    KeyModeUnavailable,
    KeyNotFound,
)
from keys.models import KeyState, PersonalKey, TransportKey
from keys.services import WantedKey
from keys.signing.kms import registry
from keys.signing.local import sealing_context_of

from .conftest import fresh, make_key, make_tenant, make_user, tags_of

OWNER_VERBS = (services.schedule_destruction,)
STOPS = (services.lock_key, services.disable_key)


@pytest.fixture
def told():
    heard = []

    def listen(sender, key_id=None, key_ids=None, **_):
        heard.extend(key_ids or [key_id])
        assert connection.in_atomic_block

    for signal in (signals.key_changed, signals.keys_added):
        signal.connect(listen)
    yield heard
    for signal in (signals.key_changed, signals.keys_added):
        signal.disconnect(listen)


class TestCreation:
    def test_a_stranger_an_auditor_and_a_suspended_member_get_no_key(self, tenant):
        stranger = make_user(make_tenant())
        auditor = make_user(tenant, Role.AUDITOR)
        suspended = make_user(tenant)
        with scopes_disabled():
            Membership.objects.filter(user=suspended).update(state=Membership.State.SUSPENDED)
        locked = make_user(tenant, locked_at=timezone.now())
        inactive = make_user(tenant, is_active=False)
        for user in (stranger, auditor, suspended, locked, inactive):
            with pytest.raises(NotPermitted):
                make_key(user, tenant)

    def test_nobody_makes_a_key_for_somebody_else(self, tenant, user, admin):
        for actor in (Actor.user(admin), Actor.client("ab" * 32), Actor.staff(admin)):
            with pytest.raises(NotPermitted):
                services.create_key(actor=actor, tenant=tenant, user=user, name="x")

    def test_a_mode_that_the_tenant_does_not_offer_is_refused(self, tenant, user):
        with pytest.raises(KeyModeNotOffered):
            services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", key_mode="hsm")
        with pytest.raises(KeyModeNotOffered):
            services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", key_mode="plain")

    def test_an_offered_mode_that_nothing_serves_is_unavailable(self, user, tenant):
        tenant.key_modes = ["encrypted", "hsm"]
        with pytest.raises(KeyModeUnavailable):
            services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", key_mode="hsm")
        with pytest.raises(KeyModeUnavailable):
            services.create_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", provider="google")

    def test_a_tenant_that_offers_nothing_is_told_so(self, user, tenant):
        tenant.key_modes = []
        with pytest.raises(KeyModeNotOffered):
            make_key(user, tenant)

    @pytest.mark.opens_keys
    def test_without_a_key_encryption_key_nothing_is_stored(self, user, tenant, monkeypatch):
        monkeypatch.setenv("KEYCAST_KEK", "nonsense")
        registry.reset()
        with pytest.raises(KekUnavailable):
            make_key(user, tenant)
        with scopes_disabled():
            assert not PersonalKey.objects.exists()

    @pytest.mark.parametrize("name", ["", "  ", "\u202e", "x" * 101, "\n\r\t"])
    def test_a_key_needs_a_name(self, user, tenant, name):
        with pytest.raises(InvalidText):
            make_key(user, tenant, name)

    def test_a_name_is_one_printable_line(self, user, tenant):
        assert make_key(user, tenant, " My\n\x1b[31mkey\u202e ").name == "My [31mkey"

    def test_a_key_is_not_created_when_its_audit_row_cannot_be_written(self, user, tenant, monkeypatch):
        from keycast.audit.errors import AuditUnavailable
        from keys.lifecycle import audit

        def fail(*_):
            raise AuditUnavailable

        monkeypatch.setattr(audit, "record_all", fail)
        with pytest.raises(AuditUnavailable):
            make_key(user, tenant)
        with scopes_disabled():
            assert not PersonalKey.objects.exists()
            assert not TransportKey.objects.exists()

    def test_a_new_key_is_active_sealed_recorded_and_announced(self, user, tenant, told):
        key = make_key(user, tenant)
        assert (key.state, key.key_mode, key.kek_provider, key.is_imported) == ("active", "encrypted", "local", False)
        assert told == [key.id]
        assert tags_of(key) == ["keys:key:created"]
        transport = selectors.transport_of(key)
        assert transport.public_key != key.public_key
        assert 0 <= transport.shard < SHARDS

    def test_the_tenants_default_is_used_as_far_as_it_is_offered(self, user, tenant):
        tenant.default_key_mode = "hsm"
        assert make_key(user, tenant).key_mode == "encrypted"

    def test_the_offers_tell_what_is_missing(self, tenant):
        tenant.key_modes = ["hsm", "encrypted"]
        offers = selectors.mode_offers(tenant)
        assert [(offer.key_mode, offer.is_available) for offer in offers] == [("encrypted", True), ("hsm", False)]
        assert offers[1].problem
        assert offers[0].capabilities.sentences


class TestStopping:
    @pytest.mark.parametrize("verb", [*STOPS, *OWNER_VERBS])
    def test_non_owners_cannot_stop_or_change_a_key(self, key, tenant, verb):
        other_tenants_owner = make_user(make_tenant(), Role.OWNER)
        for person in (make_user(tenant), make_user(tenant, Role.AUDITOR), other_tenants_owner):
            with pytest.raises((NotPermitted, NotFound)):
                verb(actor=Actor.user(person), key=key)
        for actor in (Actor.client("ab" * 32), Actor.staff(other_tenants_owner)):
            with pytest.raises((NotPermitted, NotFound)):
                verb(actor=actor, key=key)
        assert fresh(key).state == KeyState.ACTIVE
        assert tags_of(key) == ["keys:key:created"]

    def test_an_administrator_stops_but_neither_renames_nor_destroys(self, key, admin):
        actor = Actor.user(admin)
        for refused in (
            lambda: services.rename_key(actor=actor, key=key, name="x"),
            lambda: services.schedule_destruction(actor=actor, key=key),
        ):
            with pytest.raises(NotPermitted):
                refused()
        assert services.lock_key(actor=actor, key=key, reason="lost\nphone").state == KeyState.LOCKED
        assert fresh(key).state_reason == "lost phone"
        assert fresh(key).state_set_by == LockAuthority.TENANT

    def test_staff_can_stop_any_key(self, key, db):
        staff = User.objects.create(email="staff@example.org", is_staff=True, staff_role="operator")
        assert services.disable_key(actor=Actor.staff(staff), key=key).state_set_by == LockAuthority.STAFF

    def test_the_owner_locks_and_unlocks(self, key, user, told):
        actor = Actor.user(user)
        services.lock_key(actor=actor, key=key)
        services.unlock_key(actor=actor, key=key)
        assert fresh(key).state == KeyState.ACTIVE
        assert tags_of(key) == ["keys:key:created", "keys:key:locked", "keys:key:unlocked"]
        assert told[-2:] == [key.id, key.id]

    def test_a_stale_row_does_not_lead_to_a_wrong_step(self, key, user):
        stale = fresh(key)
        services.disable_key(actor=Actor.user(user), key=key)
        with pytest.raises(InvalidTransition):
            services.lock_key(actor=Actor.user(user), key=stale)

    def test_a_key_under_another_tenants_name_is_not_found(self, key, user):
        key.tenant = make_tenant()
        with pytest.raises(KeyNotFound):
            services.lock_key(actor=Actor.user(user), key=key)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", [*STOPS, *OWNER_VERBS])
@pytest.mark.opens_keys
def test_a_stopped_key_is_wiped_from_this_process_once_that_is_committed(verb):
    tenant = make_tenant()
    user = make_user(tenant)
    key = make_key(user, tenant)
    service = services.signing_service()
    async_to_sync(service.crypt)(selectors.key_ref(key), "nip44_encrypt", selectors.transport_of(key).public_key, "x")
    cached = service._signers["encrypted", ""]._vault._cache
    with transaction.atomic():
        verb(actor=Actor.user(user), key=key)
        assert cached.get(key.id) is not None
    assert cached.get(key.id) is None


class TestBringingBack:
    def test_an_owner_does_not_undo_what_an_administrator_did(self, key, user, admin):
        services.lock_key(actor=Actor.user(admin), key=key)
        with pytest.raises(NotPermitted, match="administrator"):
            services.unlock_key(actor=Actor.user(user), key=key)
        services.unlock_key(actor=Actor.user(admin), key=key)

    def test_an_owner_cannot_undo_an_administrators_lock_by_disabling_the_key(self, key, user, admin):
        services.lock_key(actor=Actor.user(admin), key=key)
        services.disable_key(actor=Actor.user(user), key=key)
        with pytest.raises(NotPermitted):
            services.enable_key(actor=Actor.user(user), key=key)

    def test_an_owner_cannot_undo_an_administrators_lock_by_cancelling_a_destruction(self, key, user, admin):
        services.lock_key(actor=Actor.user(admin), key=key)
        services.schedule_destruction(actor=Actor.user(user), key=key)
        services.cancel_destruction(actor=Actor.user(user), key=key)
        with pytest.raises(NotPermitted):
            services.enable_key(actor=Actor.user(user), key=key)

    def test_only_operators_bring_back_a_quarantined_key(self, key, user, admin):
        from keys.errors import KeyMismatch
        from keys.lifecycle.damage import record_damage

        record_damage(key.id, KeyMismatch())
        for person in (user, admin):
            with pytest.raises(NotPermitted):
                services.unlock_key(actor=Actor.user(person), key=key)
        assert services.unlock_key(actor=Actor.command("test"), key=key).state == KeyState.ACTIVE

    @pytest.mark.parametrize(
        ("stop", "back"), [(services.lock_key, services.unlock_key), (services.disable_key, services.enable_key)]
    )
    def test_material_that_does_not_open_is_not_brought_back(self, key, user, stop, back):
        stop(actor=Actor.user(user), key=key)
        with scopes_disabled():
            PersonalKey.objects.filter(pk=key.pk).update(encrypted_secret_key=b"\x01" + bytes(124))
        with pytest.raises(KeyDamaged):
            back(actor=Actor.user(user), key=key)
        assert fresh(key).state != KeyState.ACTIVE


class TestMany:
    @pytest.mark.opens_keys
    def test_all_or_none(self, user, tenant, key):
        from keys.errors import KeyExists
        from keys.signing.vault import unlock

        ref = selectors.key_ref(key)
        secret = unlock(ref.sealed, sealing_context_of(ref), registry.provider("local")).secret()
        wanted = [WantedKey(user, "one"), WantedKey(user, "two", secret), WantedKey(user, "three")]
        with pytest.raises(KeyExists):
            services.add_keys(actor=Actor.command("test"), tenant=tenant, wanted=wanted)
        with scopes_disabled():
            assert PersonalKey.objects.count() == TransportKey.objects.count() == 1

    def test_add_keys_refuses_a_user_who_is_no_member(self, user, tenant):
        stranger = make_user(make_tenant())
        with pytest.raises(NotPermitted):
            services.add_keys(
                actor=Actor.command("test"), tenant=tenant, wanted=[WantedKey(user, "a"), WantedKey(stranger, "b")]
            )

    def test_hundreds_are_made_in_one_call(self, user, tenant, told):
        keys = services.add_keys(
            actor=Actor.command("test"), tenant=tenant, wanted=[WantedKey(user, f"k{n}") for n in range(300)]
        )
        assert len({key.public_key for key in keys}) == 300
        assert told == [key.id for key in keys]
        assert AuditRow.objects.filter(tag="keys:key:created").count() == 300
        assert services.self_test(None) == []
