"""Key-encryption keys in OpenBao; the same on our stand-in and, where it is named, the genuine one."""

from __future__ import annotations

import uuid

import httpx
import pytest

from keycast.crypto.secret import SecretBytes
from keycast.emulators.openbao.app import OpenBaoEmulatorError, OpenBaoEmulatorKek
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm import calling
from keys.hsm.openbao import clients
from keys.hsm.openbao.config import OpenBaoConfig
from keys.hsm.openbao.kek import OpenBaoKekProvider
from keys.hsm.openbao.kek_versions import OpenBaoKekVersions
from tests.keys.hsm.openbao.conftest import TOKEN

TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


def ask(method, path, body=None):
    """As an operator there would."""
    config = OpenBaoConfig.from_settings()
    answer = clients.blocking_client(config).request(
        method, f"{config.base_url}/{path}", json=body, headers={"X-Vault-Token": TOKEN}
    )
    assert answer.is_success, answer.text
    return answer


@pytest.fixture
def kek(server, request):
    name = f"kek-{uuid.uuid4().hex[:12]}"
    if server == "stand-in":
        request.getfixturevalue("emulator").keks[name] = OpenBaoEmulatorKek()
    else:
        ask("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    return OpenBaoKekProvider(name)


@pytest.fixture
def wrapped(kek):
    with SecretBytes(b"\x07" * 32) as data_key:
        return kek.wrap(data_key, tenant_id=TENANT, aad=b"here")


def opened(kek, wrapped, **changes):
    given = {"blob": wrapped.blob, "kek_version": wrapped.kek_version, "tenant_id": TENANT, "aad": b"here"} | changes
    with kek.unwrap(given.pop("blob"), **given) as secret:
        return secret.view().tobytes()


@pytest.mark.parametrize("name", ["", "a/b", "../sys", "a:b"])
def test_what_is_no_name_of_a_key_is_refused(name):
    with pytest.raises(KekUnavailable):
        OpenBaoKekProvider(name)


def test_without_a_key_nothing_is_sealed_and_none_is_made(emulator):
    with SecretBytes(b"\x07" * 32) as data_key, pytest.raises(KekUnavailable, match="no key-encryption key"):
        OpenBaoKekProvider("nowhere").wrap(data_key, tenant_id=TENANT, aad=b"")
    assert emulator.keks == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": OTHER},
        {"aad": b"there"},
        {"blob": b"vault:v1:" + b"A" * 80},
        {"blob": b"vault:v2:AAAA"},
        {"blob": b""},
    ],
)
def test_what_was_moved_or_altered_does_not_open(kek, wrapped, changes):
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, **changes)
    assert opened(kek, wrapped) == b"\x07" * 32


def test_what_was_sealed_before_a_new_version_opens_after_it_until_that_is_retired(kek, wrapped):
    name = kek._key
    versions = OpenBaoKekVersions(name)
    plan = versions.plan()
    second = versions.make(plan)
    assert second == versions.make(plan) == f"openbao:{name}:v2"
    assert versions.others() == (f"openbao:{name}:v1",)
    assert opened(kek, wrapped) == b"\x07" * 32
    with SecretBytes(b"\x08" * 32) as data_key:
        assert OpenBaoKekProvider(name).wrap(data_key, tenant_id=TENANT, aad=b"").kek_version == second
    assert "min_decryption_version=2" in versions.by_hand(f"openbao:{name}:v1")


def test_a_retired_version_is_no_damage(emulator):
    emulator.keks["kek"] = OpenBaoEmulatorKek()
    kek = OpenBaoKekProvider("kek")
    with SecretBytes(b"\x07" * 32) as data_key:
        wrapped = kek.wrap(data_key, tenant_id=TENANT, aad=b"here")
    OpenBaoKekVersions("kek").make({"before": wrapped.kek_version})
    emulator.keks["kek"].oldest = 2
    with pytest.raises(KekUnavailable, match="retired"):
        opened(kek, wrapped)
    for unknown in ("openbao:other:v1", "openbao:kek:v0", "local-1"):
        with pytest.raises(KekUnavailable):
            opened(kek, wrapped, kek_version=unknown)


def test_a_server_that_does_not_bind_to_associated_data_is_refused(emulator):
    emulator.keks["kek"] = OpenBaoEmulatorKek()
    emulator.knows_associated_data = False
    with SecretBytes(b"\x07" * 32) as data_key, pytest.raises(KekUnavailable, match="associated data"):
        OpenBaoKekProvider("kek").wrap(data_key, tenant_id=TENANT, aad=b"here")


def test_a_key_that_may_be_taken_out_is_not_used(emulator):
    emulator.keks["kek"] = OpenBaoEmulatorKek(exportable=True)
    with pytest.raises(KekUnavailable, match="taken out"):
        OpenBaoKekProvider("kek").current_version(TENANT)


@pytest.mark.parametrize("times", [1, -1])
def test_one_refusal_may_be_a_fault_on_the_way_and_two_are_damage(emulator, times):
    emulator.keks["kek"] = OpenBaoEmulatorKek()
    kek, left = OpenBaoKekProvider("kek"), [times]
    with SecretBytes(b"\x07" * 32) as data_key:
        wrapped = kek.wrap(data_key, tenant_id=TENANT, aad=b"here")

    def before(call):
        if left[0] and "decrypt" in call:
            left[0] -= 1
            raise OpenBaoEmulatorError(400, "cipher: message authentication failed")

    emulator.before = before
    if times == 1:
        assert opened(kek, wrapped) == b"\x07" * 32
    else:
        with pytest.raises(KeyDamaged):
            opened(kek, wrapped)


def test_a_server_that_is_away_is_no_damage(emulator, settings, monkeypatch):
    monkeypatch.setattr(calling, "TRY_SECONDS", 0.3)
    emulator.keks["kek"] = OpenBaoEmulatorKek()
    kek = OpenBaoKekProvider("kek")
    with SecretBytes(b"\x07" * 32) as data_key:
        wrapped = kek.wrap(data_key, tenant_id=TENANT, aad=b"here")
    settings.OPENBAO_URL = "https://127.0.0.1:9"
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)
    with pytest.raises(httpx.HTTPError):
        ask("GET", "transit/keys/kek")
