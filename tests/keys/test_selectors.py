"""Who sees which keys, and what the self-test says of them."""

from __future__ import annotations

import pytest
from django.db import transaction
from django_scopes import scope, scopes_disabled

from keycast.audit.entries import Actor
from keys import selectors, services
from keys.errors import (
    KeyNotFound,
)
from keys.models import PersonalKey, TransportKey

from .conftest import fresh, make_key, make_tenant, make_user


class TestSelfTest:
    def test_self_test_reports_damaged_keys_and_missing_kek_versions(self, user, tenant):
        good, moved, mixed = (make_key(user, tenant) for _ in range(3))
        with scopes_disabled():
            PersonalKey.objects.filter(pk=moved.pk).update(encrypted_secret_key=bytes(good.encrypted_secret_key))
            TransportKey.objects.filter(key=mixed).update(kek_version="gone")
        problems = services.self_test()
        assert {(problem.kind, problem.cause) for problem in problems} == {
            ("personal", "key-damaged"),
            ("transport", "kek-unavailable"),
        }
        assert moved.id in {problem.row_id for problem in problems}


class TestSelectors:
    def test_keys_are_seen_by_their_owner_in_their_tenant_alone(self, key, user, tenant):
        other = make_tenant()
        for person, sealing_context_of in [(make_user(tenant), tenant), (user, other)]:
            with pytest.raises(KeyNotFound):
                selectors.key_of(person, sealing_context_of, key.id)
        assert selectors.key_of(user, tenant, key.id) == key
        with pytest.raises(KeyNotFound):
            selectors.key_by_public_key(key.public_key, other)
        assert selectors.key_by_public_key(key.public_key) == key

    @pytest.mark.parametrize("text", ["", "npub1", "zz", "ab" * 32, "nsec1" + "q" * 58])
    def test_a_text_that_names_no_key_is_not_found(self, db, text):
        with pytest.raises(KeyNotFound):
            selectors.key_by_public_key(text)

    def test_references_come_in_few_queries(self, user, tenant, django_assert_num_queries):
        keys = [make_key(user, tenant) for _ in range(4)]
        with django_assert_num_queries(1):
            refs = list(selectors.key_refs([key.id for key in keys]))
        assert {ref.public_key for ref in refs} == {key.public_key for key in keys}
        transports = [selectors.transport_of(key).id for key in keys]
        with django_assert_num_queries(1):
            assert len(list(selectors.transport_refs(transports))) == 4

    def test_key_selectors_and_services_work_inside_a_tenant_scope(self, key, user, tenant):
        with scope(tenant=tenant):
            assert selectors.key_of(user, tenant, key.id) == key
            with transaction.atomic():
                services.rename_key(actor=Actor.user(user), key=key, name="Renamed")
        assert fresh(key).name == "Renamed"
