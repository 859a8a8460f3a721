"""Each dangerous mix has its id, fails alone, and passes when it is put right."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks
from pytest_django import Settings

from accounts.models import Tenant, TenantDomain
from keycast import checks, unsafe_settings
from keycast.base import versions
from keycast.operations import startup
from tests.paths import ROOT


def random_key(seed: int) -> str:
    """A key that looks random, the same in every run."""
    return base64.b64encode(hashlib.sha256(bytes([seed])).digest()).decode()


ZERO = base64.b64encode(bytes(32)).decode()
REDIS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
WAL = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}
SAFE: dict[str, Any] = {
    "IS_PRODUCTION": True,
    "DEBUG": False,
    "SECRET_KEY": "x3JH-kd82_ljsdf89ASDK2mcvn1209sdfkjwe-sdlkfj23oiu4lkjsdf98",
    "CHANNEL_LAYERS": REDIS,
    "EMBEDDED": False,
    "IS_SQLITE": False,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "PUBLIC_SCHEME": "https",
    "IS_HTTPS": True,
    "SECURE_HSTS_SECONDS": 3600,
    "ACCEPTED_RISKS": [],
    "SECRET_KEY_FALLBACKS": [],
    "AUDIT_CHECKPOINT_KEY": "",
    "PROBE_TOKEN": "",
    "PLATFORM_HOSTS": ["admin.example"],
    "TRUSTED_PROXY_COUNT": 1,
    "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
    "EMAIL_TIMEOUT": 10.0,
    "RELAY_ALLOWED_PRIVATE_HOSTS": [],
    "OUTBOUND_RELAYS": ["wss://relay.example"],
    "KEK_PROVIDER": "local",
    "FIELD_KEYS": [random_key(1)],
    "RESTORE_JOURNAL": "/elsewhere/endings",
    "SIGNER_SOCKET": "",
    "SIGNER_IS_CHILD": False,
    "SIGNER_IN_PROCESS": True,
}
MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

DANGERS: dict[str, list[dict[str, Any]]] = {
    "keycast.E001": [{"DEBUG": True}],
    "keycast.E002": [{"SECRET_KEY": "insecure-" + "abcdefgh" * 8}, {"SECRET_KEY": "short"}, {"SECRET_KEY": "a" * 80}],
    "keycast.E003": [{"env": {"KEYCAST_KEK_FILE": ""}}],
    "keycast.E004": [{"FIELD_KEYS": []}],
    "keycast.E005": [
        {"env": {"KEYCAST_EMULATOR": "127.0.0.1:1"}},
        {"KMS_EMULATOR": True},
        {"KMS_ENDPOINT": "127.0.0.1:9010"},
        {"NETHSM_EMULATOR": True},
    ],
    "keycast.E008": [{"CHANNEL_LAYERS": MEMORY}],
    "keycast.E009": [{"IS_SQLITE": True}],
    "keycast.W010": [{"EMBEDDED": True}],
    "keycast.W011": [{"IS_SQLITE": True, "EMBEDDED": True, "Q_CLUSTER": {"workers": 2}}],
    "keycast.E012": [{"IS_SQLITE": True, "EMBEDDED": True, "options": options} for options in ({}, WAL)],
    "keycast.E014": [{"SESSION_COOKIE_SECURE": False}, {"CSRF_COOKIE_SECURE": False}],
    "keycast.E015": [{"PUBLIC_SCHEME": "http"}],
    "keycast.E016": [{"SECURE_HSTS_SECONDS": 0}],
    "keycast.E017": [{"PLATFORM_HOSTS": []}],
    "keycast.E018": [{"USE_X_FORWARDED_HOST": True, "TRUSTED_PROXY_COUNT": 0}],
    "keycast.E019": [{"TRUSTED_PROXY_COUNT": 4}, {"TRUSTED_PROXY_COUNT": -1}],
    "keycast.E020": [
        {"EMAIL_BACKEND": f"django.core.mail.backends.{name}.EmailBackend"} for name in ("console", "dummy")
    ],
    "keycast.W021": [{"RELAY_ALLOWED_PRIVATE_HOSTS": ["10.0.0.1"]}],
    "keycast.W022": [{"OUTBOUND_RELAYS": ["ws://relay.example"]}],
    "keycast.E024": [{"NETHSM_URL": "http://nethsm.example"}],
    "keycast.E025": [{"HSM_PROVIDERS": ["google"], "COSIGNER_IS_CHILD": True}],
    "keycast.E026": [{"env": {"KEYCAST_COSIGNER_KEK": f"b-1:{random_key(2)}", "KEYCAST_KEK": f"a-1:{random_key(2)}"}}],
    "keycast.E027": [{"SIGNER_SOCKET": "/run/signer"}],
    "keycast.E028": [{"SIGNER_IS_CHILD": True}],
    "keycast.E029": [{"EMAIL_TIMEOUT": seconds} for seconds in (None, 0, -1.0)],
    "keycast.W030": [{"RESTORE_JOURNAL": ""}],
    "keycast.E035": [{"SIGNER_IN_PROCESS": False}],
    "keycast.E031": [
        {"FIELD_KEYS": [random_key(1), ZERO]},
        {"FIELD_KEYS": ["not base64"]},
        {"env": {"KEYCAST_KEK": f"2026-01-01:{random_key(2)} 2026-02-02:{ZERO}"}},
        {"env": {"KEYCAST_COSIGNER_KEK": f"1:{base64.b64encode(b'correct horse battery staple 123').decode()}"}},
        {"AUDIT_CHECKPOINT_KEY": f"ed25519:{base64.b64encode(bytes(range(32))).decode()}"},
    ],
    "keycast.E032": [
        {"env": {"KEYCAST_KEK": f"2026-01-01:{random_key(1)}"}},
        {"AUDIT_CHECKPOINT_KEY": f"ed25519:{random_key(1)}"},
        {"PROBE_TOKEN": random_key(1)},
        {"SECRET_KEY": random_key(1) * 2, "PROBE_TOKEN": random_key(1) * 2},
    ],
    "keycast.E033": [
        {"SECRET_KEY_FALLBACKS": ["insecure-development-only-secret-key-do-not-deploy"]},
        {"SECRET_KEY_FALLBACKS": ["a" * 80]},
        {"env": {"KEYCAST_KEK": f"development-2026-01-01:{random_key(2)}"}},
    ],
    "keycast.E153": [{"OPENBAO_URL": "http://bao.example:8200"}],
    "keycast.E036": [{"ACCEPTED_RISKS": ["no-hsts", "everything"]}],
    "keycast.E150": [
        {"HSM_PROVIDERS": ["pkcs11"], "COSIGNER_IS_CHILD": False, "PKCS11_MODULE": module}
        for module in ("", "lib.so", "/nowhere/lib.so", __file__)
    ],
}
ELSEWHERE = {f"keycast.E{number}" for number in ("006", "007", "013", "023", "034", "151", "152")}
"""Tested by a test of their own, below."""


@pytest.fixture
def safe(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    apply(SAFE, settings, monkeypatch)
    strict = {**WAL, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"}
    monkeypatch.setattr(unsafe_settings, "database_options", lambda: strict)
    for name in ("KEYCAST_KEK", "KEYCAST_FIELD_KEY_FILE", "KEYCAST_EMULATOR", "SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEYCAST_KEK_FILE", "/nowhere/kek")
    return settings


@pytest.mark.parametrize(
    "change",
    [{"EMBEDDED": True}, {"SIGNER_SOCKET": "/run/signer"}, {"SIGNER_IS_CHILD": True, "SIGNER_SOCKET": "/run/signer"}],
)
def test_a_signer_or_one_process_keeps_the_key_in_one_place(
    change: dict[str, Any], safe: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply({**change, "SIGNER_IN_PROCESS": False}, safe, monkeypatch)
    assert "keycast.E035" not in found()


def apply(change: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in change.items():
        if name == "env":
            for variable, text in value.items():
                monkeypatch.setenv(variable, text)
        elif name == "options":
            monkeypatch.setattr(unsafe_settings, "database_options", partial(dict, value))
        else:
            setattr(settings, name, value)


def found() -> list[str]:
    rules = [rule for rule in checks.RULES if not rule.needs_database]
    return [str(message.id) for message in checks.messages(rules)]


def test_nothing_is_found_in_safe_settings(safe: Settings) -> None:
    assert found() == []


@pytest.mark.parametrize(("id_", "change"), [(id_, change) for id_, all_ in DANGERS.items() for change in all_])
def test_a_dangerous_mix_is_found(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, id_: str, change: dict[str, Any]
) -> None:
    apply(change, safe, monkeypatch)
    assert found() == [id_]


def test_every_rule_is_tested() -> None:
    assert {rule.id for rule in checks.RULES} == DANGERS.keys() | ELSEWHERE


def test_ids_are_unique_and_say_how_serious_they_are() -> None:
    ids = [rule.id for rule in checks.RULES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"keycast\.[EW]\d{3}", id_) for id_ in ids)
    assert all(".E" in rule.id for rule in checks.RULES if rule.fatal)


def test_every_rule_gives_its_reason_and_a_way_out() -> None:
    assert all(rule.reason.endswith(".") or rule.reason.endswith(").") for rule in checks.RULES)
    assert all(rule.hint for rule in checks.RULES)


def test_a_regional_endpoint_of_google_is_no_emulator(safe: Settings) -> None:
    safe.KMS_ENDPOINT = "cloudkms.europe-west1.rep.googleapis.com"
    assert found() == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_file_that_others_may_read_is_found(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "kek"
    file.write_text("x")
    file.chmod(mode)
    monkeypatch.setenv("KEYCAST_KEK_FILE", str(file))
    assert found() == ["keycast.E023"]
    file.chmod(0o600)
    assert found() == []


@pytest.fixture
def pkcs11_module(safe: Settings, tmp_path: Path) -> Path:
    """A vendor's module in a folder of its own, and settings that name it."""
    module = tmp_path / "lib" / "libvendor.so"
    module.parent.mkdir(mode=0o755)
    module.touch(0o755)
    safe.HSM_PROVIDERS, safe.COSIGNER_IS_CHILD, safe.PKCS11_MODULE = ["pkcs11"], False, str(module)
    safe.PKCS11_TOKEN, safe.PKCS11_PIN = "keycast", "1234"
    return module


def test_a_module_for_pkcs11_that_others_may_change_is_found(pkcs11_module: Path) -> None:
    assert found() == []
    for path in (pkcs11_module, pkcs11_module.parent):
        before = path.stat().st_mode
        path.chmod(0o777)
        assert found() == ["keycast.E151"]
        path.chmod(before)


def test_a_token_in_software_is_found(safe: Settings, pkcs11_module: Path) -> None:
    safe.PKCS11_MODULE = str(pkcs11_module.rename(pkcs11_module.with_name("libsofthsm2.so")))
    assert found() == ["keycast.E152"]


def test_pkcs11_without_its_library_is_found(
    safe: Settings, pkcs11_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert found() == ["keycast.E150"]


@pytest.mark.parametrize("name", ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"])
def test_a_database_that_others_may_read_is_found(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    safe.IS_SQLITE, safe.EMBEDDED = True, True
    monkeypatch.setattr(unsafe_settings, "database_file", lambda: str(tmp_path / "db.sqlite3"))
    assert found() == []
    file = tmp_path / name
    file.touch()
    file.chmod(0o644)
    assert found() == ["keycast.E034"]
    file.chmod(0o600)
    assert found() == []


def test_what_root_gave_our_group_is_ours_to_read_but_nobody_elses(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "kek"
    file.write_text("x")
    monkeypatch.setenv("KEYCAST_KEK_FILE", str(file))
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    if file.stat().st_uid:
        pytest.skip("makes no files of root's")
    file.chmod(0o440)
    assert found() == []
    file.chmod(0o444)
    assert found() == ["keycast.E023"]


@pytest.mark.parametrize("rule", [rule for rule in checks.RULES if rule.risk], ids=lambda rule: rule.risk)
@pytest.mark.django_db
def test_each_danger_is_accepted_by_its_own_name_alone(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rule: checks.SettingsRule
) -> None:
    if rule.id in DANGERS:
        apply(DANGERS[rule.id][0], safe, monkeypatch)
    else:
        file = tmp_path / "open"
        file.write_text("x")
        file.chmod(0o666)
        if rule.id == "keycast.E023":
            monkeypatch.setenv("KEYCAST_PROBE_TOKEN_FILE", str(file))
        else:
            apply({"IS_SQLITE": True, "EMBEDDED": True}, safe, monkeypatch)
            monkeypatch.setattr(unsafe_settings, "database_file", lambda: str(file))
    safe.ACCEPTED_RISKS = sorted(checks.RISKS - {rule.risk})
    with pytest.raises(startup.UnsafeToStart, match=f"{rule.id}.*KEYCAST_ACCEPTED_RISKS={rule.risk}"):
        startup.refuse_unsafe_start()
    safe.ACCEPTED_RISKS = [rule.risk]
    startup.refuse_unsafe_start()
    assert [message.is_serious() for message in checks.check_fatal()] == [False], "it is told all the same"


def test_every_risk_is_documented() -> None:
    text = " ".join((ROOT / ".env.example").read_text().replace("#", "").split())
    listed = re.search(r"each of them refused otherwise .*?: ([a-z, -]+)\.", text)
    assert listed is not None
    assert set(listed[1].split(", ")) == checks.RISKS


def test_an_old_library_is_found(safe: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = versions.VersionRange("Django", "99", "it is from the future")
    monkeypatch.setattr(versions, "BOUNDS", (bound,))
    assert found() == ["keycast.E013"]


@pytest.mark.django_db
def test_the_demo_tenant_is_found(safe: Settings) -> None:
    assert startup.reasons() == []
    tenant = Tenant.objects.create(slug="demo", name="Demo")
    TenantDomain(tenant=tenant, host="localhost").save()
    assert [line[:12] for line in startup.reasons()] == ["keycast.E006"]


@pytest.mark.django_db
def test_keys_sealed_under_a_development_key_are_found(safe: Settings, development_key: object) -> None:
    assert [line[:12] for line in startup.reasons()] == ["keycast.E007"]


@pytest.mark.parametrize("id_", ["keycast.E001", "keycast.E003", "keycast.E005", "keycast.E008"])
@pytest.mark.django_db
def test_what_is_fatal_does_not_start_in_production(safe: Settings, monkeypatch: pytest.MonkeyPatch, id_: str) -> None:
    apply(DANGERS[id_][0], safe, monkeypatch)
    with pytest.raises(startup.UnsafeToStart, match=id_):
        startup.refuse_unsafe_start()


def test_nothing_is_fatal_on_a_developers_desk(settings: Settings) -> None:
    settings.DEBUG = True
    assert settings.IS_PRODUCTION is False
    startup.refuse_unsafe_start()
    assert checks.check_fatal() == []


def test_commands_that_check_the_system_refuse_by_themselves(safe: Settings) -> None:
    safe.DEBUG = True
    ids = [message.id for message in django_checks.run_checks(tags=[checks.FATAL])]
    assert ids == ["keycast.E001"]


def test_the_rest_waits_for_check_deploy(safe: Settings) -> None:
    safe.RESTORE_JOURNAL = ""
    assert django_checks.run_checks(tags=[checks.DEPLOY]) == []
    ids = [message.id for message in django_checks.run_checks(tags=[checks.DEPLOY], include_deployment_checks=True)]
    assert ids == ["keycast.W030"]
