"""The local provider of key-encryption keys: one subkey per tenant, versions that come and go."""

from __future__ import annotations

import uuid

import pytest

from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable, KeyDamaged, ProviderNotConfigured
from keys.signing.kms import registry
from keys.signing.kms.local import LocalKekProvider
from tests.keys.signing.kms.test_keyfile import line

TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def provider():
    text = f"{line('1')}\n{line('2')}".encode()
    return LocalKekProvider(lambda: text)


def wrapped(provider, tenant=TENANT, aad=b"place"):
    return provider.wrap(SecretBytes(bytes(range(32))), tenant_id=tenant, aad=aad)


def test_another_tenant_place_or_version_does_not_open(provider):
    blob = wrapped(provider).blob
    for version, tenant, aad in [("2", OTHER, b"place"), ("2", TENANT, b"other"), ("1", TENANT, b"place")]:
        with pytest.raises(KeyDamaged):
            provider.unwrap(blob, kek_version=version, tenant_id=tenant, aad=aad)


def test_a_version_that_is_not_configured_is_unavailable_rather_than_damaged(provider):
    with pytest.raises(KekUnavailable, match="version"):
        provider.unwrap(wrapped(provider).blob, kek_version="3", tenant_id=TENANT, aad=b"place")


def test_the_same_key_is_never_wrapped_alike(provider):
    assert wrapped(provider).blob != wrapped(provider).blob


def test_it_wraps_with_the_last_and_opens_with_every_version(provider):
    made = wrapped(provider)
    assert made.kek_version == provider.current_version(TENANT) == "2"
    opened = provider.unwrap(made.blob, kek_version="2", tenant_id=TENANT, aad=b"place")
    assert opened == SecretBytes(bytes(range(32)))


def test_a_version_added_to_the_file_is_found_without_a_restart(tmp_path):
    path, first = tmp_path / "kek", line("1")
    path.write_text(first)
    path.chmod(0o600)
    running = LocalKekProvider.from_file(path, strict_mode=True)
    before = wrapped(running)
    path.write_text(f"{first}\n{line('2')}")
    rotated = LocalKekProvider.from_file(path, strict_mode=True)
    after = wrapped(rotated)
    assert after.kek_version == "2"
    assert running.unwrap(after.blob, kek_version="2", tenant_id=TENANT, aad=b"place")
    assert running.current_version(TENANT) == "2"
    assert running.unwrap(before.blob, kek_version="1", tenant_id=TENANT, aad=b"place")


def test_a_version_taken_out_of_the_file_opens_nothing_any_more(tmp_path):
    path, second = tmp_path / "kek", line("2")
    path.write_text(f"{line('1')}\n{second}")
    running = LocalKekProvider.from_file(path, strict_mode=False)
    old = running.wrap(SecretBytes.random(32), tenant_id=TENANT, aad=b"place")
    path.write_text(f"{line('3')}\n")
    assert running.current_version(TENANT) == "3"
    with pytest.raises(KekUnavailable):
        running.unwrap(old.blob, kek_version=old.kek_version, tenant_id=TENANT, aad=b"place")


def test_a_file_that_breaks_later_stops_new_seals_but_not_open_ones(tmp_path):
    path = tmp_path / "kek"
    path.write_text(line("1"))
    running = LocalKekProvider.from_file(path, strict_mode=False)
    made = wrapped(running)
    path.unlink()
    with pytest.raises(KekUnavailable):
        wrapped(running)
    assert running.unwrap(made.blob, kek_version="1", tenant_id=TENANT, aad=b"place")


def test_both_sources_at_once_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYCAST_KEK", line())
    monkeypatch.setenv("KEYCAST_KEK_FILE", str(tmp_path / "kek"))
    with pytest.raises(KekUnavailable, match="not both"):
        LocalKekProvider.from_settings()


def test_production_has_no_default_file(monkeypatch, settings, tmp_path):
    monkeypatch.delenv("KEYCAST_KEK", raising=False)
    monkeypatch.delenv("KEYCAST_KEK_FILE", raising=False)
    settings.IS_PRODUCTION, settings.DATA_DIR = True, tmp_path
    (tmp_path / "kek").write_text(line())
    with pytest.raises(KekUnavailable, match="KEYCAST_KEK_FILE"):
        LocalKekProvider.from_settings()
    settings.IS_PRODUCTION = False
    assert LocalKekProvider.from_settings().current_version(TENANT) == "1"


def test_production_checks_the_mode_of_its_file(monkeypatch, settings, tmp_path):
    path = tmp_path / "kek"
    path.write_text(line())
    path.chmod(0o644)
    monkeypatch.delenv("KEYCAST_KEK", raising=False)
    monkeypatch.setenv("KEYCAST_KEK_FILE", str(path))
    settings.IS_PRODUCTION = True
    with pytest.raises(KekUnavailable, match="chmod"):
        LocalKekProvider.from_settings()


def test_a_provider_that_is_not_set_up_says_so():
    with pytest.raises(ProviderNotConfigured, match="google"):
        registry.provider("google")


def test_a_registered_provider_is_made_once_and_lazily():
    made = []

    def factory():
        made.append(1)
        return LocalKekProvider(lambda: line().encode())

    registry.register("another", factory)
    assert not made
    assert registry.provider("another") is registry.provider("another")
    assert made == [1]
