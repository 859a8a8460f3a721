"""Migration keys.0009: each row's one provider goes into the column of its mode, and back again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = ("keys", "0008_lock_authority"), ("keys", "0009_kek_and_hsm_provider")
ENCRYPTED = {"key_mode": "encrypted", "encrypted_secret_key": b"sealed", "kek_version": "1"}
NETHSM = {"key_mode": "hsm", "kms_key_name": "k"}
SPLIT = {
    "key_mode": "hsm",
    "kms_key_name": "k",
    "kms_key_version": "1",
    "authoriser_public_key": "02" + "ab" * 32,
    "encrypted_half_key": b"half",
    "kek_version": "1",
    "cosigner_public_key": "b",
}
ROWS: dict[str, tuple[dict[str, Any], str, tuple[str, str]]] = {
    "ab" * 32: (ENCRYPTED, "local", ("local", "")),
    "bc" * 32: (ENCRYPTED, "google", ("google", "")),
    "cd" * 32: (NETHSM, "nethsm", ("", "nethsm")),
    "de" * 32: (SPLIT, "google", ("", "google")),
}


def at(target: tuple[str, str]) -> Any:
    """The models as they are there, with the newest of the other apps."""
    MigrationExecutor(connection).migrate([target])
    loader = MigrationExecutor(connection).loader
    others = [node for node in loader.graph.leaf_nodes() if node[0] != target[0]]
    return loader.project_state([*others, target]).apps


@pytest.mark.django_db(transaction=True)
def test_each_provider_moves_to_the_column_of_its_mode_and_back() -> None:
    try:
        apps = at(BEFORE)
        keys = apps.get_model("keys", "PersonalKey").objects
        tenant = apps.get_model("accounts", "Tenant").objects.create(slug="moved", name="Moved")
        user = apps.get_model("accounts", "User").objects.create(email="moved@example.org")
        for public_key, (fields, provider, _) in ROWS.items():
            named = {"tenant": tenant, "user": user, "state": "active", "public_key": public_key}
            keys.create(**named, **fields, provider=provider)

        moved = at(AFTER).get_model("keys", "PersonalKey").objects
        found = {key: (kek, hsm) for key, kek, hsm in moved.values_list("public_key", "kek_provider", "hsm_provider")}
        assert found == {public_key: columns for public_key, (_, _, columns) in ROWS.items()}

        back = at(BEFORE).get_model("keys", "PersonalKey").objects
        assert dict(back.values_list("public_key", "provider")) == {key: row[1] for key, row in ROWS.items()}
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
