"""A token of SoftHSM2, what works with it, and keys in it."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from keys.hsm.pkcs11 import client, names
from keys.hsm.pkcs11.authoriser import Pkcs11Authoriser
from keys.hsm.pkcs11.keeper import Pkcs11KeyManager
from keys.refs import HsmRef
from tests.keys.hsm.pkcs11.softhsm import PIN, SoftHsm


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory):
    made = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    made.label = made.new_token()  # before the module is initialised: it looks for tokens then alone
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(made.config)
    yield made
    os.environ.pop("SOFTHSM2_CONF") if before is None else os.environ.update(SOFTHSM2_CONF=before)


@pytest.fixture
def token(softhsm, settings):
    """An empty token, and the settings that name it; its label."""
    settings.PKCS11_MODULE, settings.PKCS11_TOKEN = softhsm.module, softhsm.label
    settings.PKCS11_PIN, settings.PKCS11_MANAGER_PIN, settings.PKCS11_CAN_DISABLE = PIN, "", True
    settings.PKCS11_CURVE = "secp256k1"
    client.reset()
    in_token(lambda session: [found.destroy() for found in list(session.get_objects())])
    yield settings.PKCS11_TOKEN
    client.reset()


@pytest.fixture
def keeper(token):
    return Pkcs11KeyManager()


@pytest.fixture
def authoriser(token):
    return Pkcs11Authoriser()


def make_hsm_key(keeper, tenant_id=None):
    name = keeper.create(names.new(tenant_id or uuid4())).name
    status = keeper.check(name)
    return HsmRef(name, status.version, status.public_key.hex())


@pytest.fixture
def hsm(keeper):
    return make_hsm_key(keeper)


def in_token(work, *, manages=True):
    """What a key, a session or the token says of itself: ``work(session)`` on the module's thread."""
    return client.client().submit(lambda token, session: work(session), manages=manages).result(10)
