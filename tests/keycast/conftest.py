"""What the project's tests share."""

from __future__ import annotations

import secrets
import time

import pytest
from django_scopes import scopes_disabled

from accounts.models import Tenant, User
from keys.models import PersonalKey


@pytest.fixture
def development_key(db: None) -> PersonalKey:
    """A key whose row says that it is sealed under a development key-encryption key."""
    with scopes_disabled():
        return PersonalKey.objects.create(
            tenant=Tenant.objects.create(slug="t", name="T"),
            user=User.objects.create(email="u@example.org"),
            name="key",
            key_mode="encrypted",
            kek_provider="local",
            state="active",
            public_key=secrets.token_hex(32),
            encrypted_secret_key=b"sealed",
            kek_version="development-2026-11-23",
        )


@pytest.fixture
def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
