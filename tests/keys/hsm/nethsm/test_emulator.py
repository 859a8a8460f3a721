"""The emulator answers as NetHSM's API description says, to Nitrokey's own client: what passes here passes there."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
from contextlib import closing

import httpx
import nethsm
import pytest
from django.core.management import CommandError, call_command
from nethsm import Authentication, Base64, KeyMechanism, KeyType, NetHSMError, Role, SignMode, State

from keycast.crypto import ecdsa, schnorr
from keycast.emulators.nethsm import store
from tests.keys.hsm.nethsm.conftest import ADMIN, ADMIN_PASSWORD

PASSPHRASE = "long enough a phrase"


def connect(emulator, user=ADMIN, passphrase=ADMIN_PASSWORD):
    host = emulator.url.removeprefix("https://")
    return closing(nethsm.NetHSM(host, Authentication(user, passphrase), ca_certs=str(emulator.ca_file)))


@pytest.fixture
def root(emulator):
    with connect(emulator) as client:
        yield client


@pytest.fixture
def space(emulator, root):
    """A namespace with its two users, each connected."""
    root.add_user("A", Role.ADMINISTRATOR, PASSPHRASE, "admin", "space")
    root.add_namespace("space")
    with connect(emulator, "space~admin", PASSPHRASE) as admin:
        admin.add_user("O", Role.OPERATOR, PASSPHRASE, "op", "space")
        with connect(emulator, "space~op", PASSPHRASE) as operator:
            yield admin, operator


def generate(admin, key_id="key"):
    return admin.generate_key(KeyType.EC_P256K1, [KeyMechanism.BIP340_SIGNATURE], 256, key_id)


def raw(emulator, method, path, user=ADMIN, passphrase=ADMIN_PASSWORD, **more):
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    url = f"{emulator.url}/api/v1{path}"
    return httpx.request(method, url, auth=(user, passphrase), verify=context, trust_env=False, **more)


def test_wrong_credentials_are_refused_and_then_throttled(emulator, root):
    with connect(emulator, ADMIN, "not the passphrase") as client:
        with pytest.raises(NetHSMError, match="Unauthorized"):
            client.list_namespaces()
        with pytest.raises(NetHSMError, match="Too many requests"):
            client.list_namespaces()


def test_a_locked_device_does_nothing(emulator, root):
    emulator.app.state = "Locked"
    assert root.get_state() is State.LOCKED
    with pytest.raises(NetHSMError, match="Precondition failed"):
        root.list_namespaces()


def test_the_r_administrator_cannot_make_users_in_a_namespace_that_is_there(root, space):
    with pytest.raises(NetHSMError, match="Access denied"):
        root.add_user("X", Role.ADMINISTRATOR, PASSPHRASE, "other", "space")


def test_the_r_administrator_cannot_see_or_sign_with_a_namespaces_keys(root, space):
    generate(space[0])
    with pytest.raises(NetHSMError, match="not found"):
        root.get_key("key")
    with pytest.raises(NetHSMError, match="Access denied"):
        root.sign("key", Base64.encode(os.urandom(32)), SignMode.BIP340)


def test_an_operator_cannot_make_or_delete_keys_and_an_administrator_cannot_sign(space):
    admin, operator = space
    generate(admin)
    with pytest.raises(NetHSMError, match="Access denied"):
        generate(operator, "more")
    with pytest.raises(NetHSMError, match="Access denied"):
        operator.delete_key("key")
    with pytest.raises(NetHSMError, match="Access denied"):
        admin.sign("key", Base64.encode(os.urandom(32)), SignMode.BIP340)


def test_what_is_there_already_conflicts(root, space):
    generate(space[0])
    with pytest.raises(NetHSMError, match="already exists"):
        generate(space[0])
    with pytest.raises(NetHSMError, match="already exists"):
        space[0].add_user("O", Role.OPERATOR, PASSPHRASE, "op", "space")


@pytest.mark.parametrize(
    "body",
    [
        {"mechanisms": ["BIP340_Signature"], "type": "EC_P256K1", "more": 1},
        {"mechanisms": [], "type": "EC_P256K1"},
        {"mechanisms": ["BIP340_Signature"]},
        {"mechanisms": ["BIP340_Signature"], "type": "EC_P256K1", "id": "no spaces"},
        {"mechanisms": ["EdDSA_Signature"], "type": "EC_P256K1"},
        [],
    ],
)
def test_json_that_is_not_exactly_as_specified_is_a_bad_request(emulator, space, body):
    answer = raw(emulator, "POST", "/keys/generate", "space~admin", PASSPHRASE, json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_only_32_bytes_are_signed(emulator, space, size):
    generate(space[0])
    body = {"mode": "BIP340", "message": base64.b64encode(os.urandom(size)).decode()}
    assert raw(emulator, "POST", "/keys/key/sign", "space~op", PASSPHRASE, json=body).status_code == 400


def test_short_passphrases_are_refused(emulator):
    body = {"realName": "A", "role": "Administrator", "passphrase": "nine long"}
    assert raw(emulator, "PUT", "/users/other~admin", json=body).status_code == 400


def test_it_says_that_it_is_an_emulator(root):
    assert "emulator" in root.get_info().product
    assert root.get_state() is State.OPERATIONAL


def test_a_key_signs_as_bip_340_says_and_can_be_deleted(space):
    admin, operator = space
    assert generate(admin) == "key"
    assert list(operator.list_keys()) == ["key"]
    point = ecdsa.public_key_from_pem(operator.get_key_public_key("key"))
    message = os.urandom(32)
    signature = operator.sign("key", Base64.encode(message), SignMode.BIP340).decode()
    assert schnorr.verify(point[1:], message, signature)
    found = operator.get_key("key")
    assert (found.type, found.mechanisms, found.operations) == (
        KeyType.EC_P256K1,
        [KeyMechanism.BIP340_SIGNATURE],
        1,
    )
    admin.delete_key("key")
    with pytest.raises(NetHSMError, match="not found"):
        operator.get_key("key")


def test_keys_of_either_parity_sign(space):
    admin, operator = space
    parities = set()
    for number in range(12):
        key_id = generate(admin, f"key{number}")
        point = ecdsa.public_key_from_pem(operator.get_key_public_key(key_id))
        signature = operator.sign(key_id, Base64.encode(b"m" * 32), SignMode.BIP340).decode()
        assert schnorr.verify(point[1:], b"m" * 32, signature)
        parities.add(point[0])
    assert parities == {2, 3}


def test_removing_a_namespace_removes_its_keys(root, space, emulator):
    generate(space[0])
    root.delete_namespace("space")
    assert root.list_namespaces() == []
    assert emulator.app.store.keys == {}


def test_throttling_ends():
    now = [0.0]
    device = store.NetHsmEmulatorStore("root", "phrase", clock=lambda: now[0])
    assert device.authenticate("root", "wrong") is None
    assert device.is_throttled("root")
    now[0] = 1.1
    assert not device.is_throttled("root")


def test_the_command_refuses_to_run_in_production(settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(CommandError, match="production"):
        call_command("nethsm_emulator")


def test_the_command_runs_it(tmp_path):
    arguments = [sys.executable, "manage.py", "nethsm_emulator", "--port", "0", "--folder", str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert "emulated" in line
        process.terminate()
        assert process.wait(20) == 0
