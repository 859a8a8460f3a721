"""The database refuses each wrong mix of mode, provider, state and material."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from keys.models import PersonalKey, TransportKey

BLOB = b"sealed"
SETTLED = ("active", "locked", "disabled", "destruction-scheduled")
ENCRYPTED = {
    "key_mode": "encrypted",
    "kek_provider": "local",
    "state": "active",
    "public_key": "ab" * 32,
    "encrypted_secret_key": BLOB,
    "kek_version": "1",
}
NETHSM = {"key_mode": "hsm", "hsm_provider": "nethsm", "state": "active", "public_key": "ab" * 32, "kms_key_name": "k"}
GOOGLE = {
    "key_mode": "hsm",
    "hsm_provider": "google",
    "state": "active",
    "public_key": "ab" * 32,
    "kms_key_name": "k",
    "kms_key_version": "1",
    "authoriser_public_key": "02" + "ab" * 32,
    "encrypted_half_key": BLOB,
    "kek_version": "1",
    "cosigner_public_key": "b",
}
PKCS11 = GOOGLE | {"hsm_provider": "pkcs11"}
OPENBAO = GOOGLE | {"hsm_provider": "openbao"}

REFUSED = [
    (ENCRYPTED, {"key_mode": "plain"}),
    (ENCRYPTED, {"key_mode": ""}),
    (ENCRYPTED, {"state": "sleeping"}),
    (ENCRYPTED, {"state_set_by": "nobody"}),
    *[(ENCRYPTED, {"kek_provider": name}) for name in ("", "nethsm", "none")],
    (ENCRYPTED, {"hsm_provider": "google"}),
    (ENCRYPTED, {"kek_provider": "", "hsm_provider": "google"}),
    *[(ENCRYPTED, {"state": state, "encrypted_secret_key": None}) for state in SETTLED],
    *[(ENCRYPTED, {"state": state, "kek_version": ""}) for state in SETTLED],
    *[(ENCRYPTED, {"state": state}) for state in ("pending", "failed", "destroyed")],
    *[(ENCRYPTED, {"state": state, "public_key": None}) for state in SETTLED],
    (ENCRYPTED, {"kms_key_name": "k"}),
    (ENCRYPTED, {"kms_key_version": "1"}),
    (ENCRYPTED, {"authoriser_public_key": "02"}),
    (ENCRYPTED, {"encrypted_half_key": BLOB}),
    (ENCRYPTED, {"key_tweak": "ab"}),
    (ENCRYPTED, {"cosigner_public_key": "b"}),
    (ENCRYPTED, {"state": "destruction-scheduled"}),
    *[(NETHSM, {"hsm_provider": name}) for name in ("", "local", "none")],
    *[(row, {"kek_provider": "local"}) for row in (NETHSM, GOOGLE)],
    *[(row, {"kek_provider": "google", "hsm_provider": ""}) for row in (NETHSM, GOOGLE)],
    (NETHSM, {"encrypted_secret_key": BLOB}),
    (NETHSM, {"state": "pending", "encrypted_secret_key": BLOB}),
    (NETHSM, {"kms_key_name": ""}),
    (NETHSM, {"encrypted_half_key": BLOB}),
    (NETHSM, {"key_tweak": "ab"}),
    (NETHSM, {"cosigner_public_key": "b"}),
    (NETHSM, {"public_key": None}),
    (GOOGLE, {"encrypted_half_key": None}),
    (GOOGLE, {"encrypted_secret_key": BLOB}),
    (GOOGLE, {"kms_key_name": ""}),
    (GOOGLE, {"kms_key_version": ""}),
    (GOOGLE, {"authoriser_public_key": ""}),
    (GOOGLE, {"cosigner_public_key": ""}),
    (GOOGLE, {"kek_version": ""}),
    (GOOGLE, {"state": "destroyed"}),
    (GOOGLE, {"state": "destroyed", "encrypted_half_key": None, "key_tweak": "ab"}),
    (NETHSM, {"state": "destruction-scheduled"}),
    (PKCS11, {"encrypted_half_key": None}),
    (PKCS11, {"authoriser_public_key": ""}),
    (PKCS11, {"cosigner_public_key": ""}),
    (OPENBAO, {"cosigner_public_key": ""}),
]
ALLOWED = [
    (ENCRYPTED, {}),
    *[(ENCRYPTED, {"kek_provider": name}) for name in ("google", "openbao", "pkcs11")],
    (ENCRYPTED, {"state": "locked"}),
    (ENCRYPTED, {"state": "disabled"}),
    (ENCRYPTED, {"state": "destruction-scheduled", "destruction_due_at": timezone.now()}),
    (ENCRYPTED, {"state": "destroyed", "encrypted_secret_key": None}),
    (ENCRYPTED, {"state": "pending", "encrypted_secret_key": None, "kek_version": "", "public_key": None}),
    (ENCRYPTED, {"state": "failed", "encrypted_secret_key": None, "public_key": None}),
    (NETHSM, {}),
    (NETHSM, {"state": "pending", "kms_key_name": "", "public_key": None}),
    (GOOGLE, {}),
    (PKCS11, {}),
    (OPENBAO, {}),
    (GOOGLE, {"key_tweak": "ab" * 32}),
    (GOOGLE, {"state": "pending", "public_key": None, "encrypted_half_key": None, "authoriser_public_key": ""}),
    (GOOGLE, {"state": "destroyed", "encrypted_half_key": None}),
]


def insert(tenant, user, base, change):
    with scopes_disabled(), transaction.atomic():
        return PersonalKey.objects.create(tenant=tenant, user=user, name="x", **(base | change))


@pytest.mark.parametrize(("base", "change"), REFUSED)
def test_the_database_refuses_an_invalid_personal_key_row(tenant, user, base, change):
    with pytest.raises(IntegrityError):
        insert(tenant, user, base, change)


@pytest.mark.parametrize(("base", "change"), ALLOWED)
def test_the_database_accepts_a_valid_personal_key_row(tenant, user, base, change):
    assert insert(tenant, user, base, change).pk


def test_a_public_key_exists_once_over_all_tenants(tenant, user, key):
    with pytest.raises(IntegrityError):
        insert(tenant, user, ENCRYPTED, {"public_key": key.public_key})


def test_a_key_has_one_current_transport_key(tenant, key):
    with scopes_disabled(), pytest.raises(IntegrityError), transaction.atomic():
        TransportKey.objects.create(
            tenant=tenant,
            key=key,
            public_key="cd" * 32,
            encrypted_secret_key=BLOB,
            kek_provider="local",
            kek_version="1",
            shard=0,
        )
