"""Against a real NetHSM (3.0 or later), unlocked. Each run makes one namespace and deletes it, with the key in it.

``KEYCAST_TEST_NETHSM_URL``, ``_CA_FILE``, ``_ADMIN_USER`` and ``_ADMIN_PASSWORD`` name it and its R-Administrator. Two
users stay behind in the deleted namespace, of no use to anybody.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import time
import uuid

import pytest

from keycast.crypto import schnorr
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.nethsm import access, clients, names
from keys.hsm.nethsm.calls import NetHsmRequest, call_blocking
from keys.hsm.nethsm.config import NetHsmConfig
from keys.hsm.nethsm.keeper import NetHsmKeyManager
from keys.hsm.nethsm.signer import NetHsmSigner
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmKeyUnusable
from keys.refs import HsmRef, KeyRef

URL = os.environ.get("KEYCAST_TEST_NETHSM_URL", "")

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(not URL, reason="REAL NETHSM NOT TESTED: set KEYCAST_TEST_NETHSM_URL and its companions"),
]


@pytest.fixture
def config():
    admin_password = os.environ.get("KEYCAST_TEST_NETHSM_ADMIN_PASSWORD", "")
    clients.reset()
    yield NetHsmConfig(
        url=URL,
        ca_file=os.environ.get("KEYCAST_TEST_NETHSM_CA_FILE", ""),
        operator_user="keycast",
        admin_user=os.environ.get("KEYCAST_TEST_NETHSM_ADMIN_USER", ""),
        operator_password=secrets.token_urlsafe(24),
        admin_password=admin_password,
        namespace_password=admin_password,
    )
    clients.reset()


@pytest.fixture
def name(config):
    tenant_id = uuid.uuid4()
    yield names.key_name(tenant_id, tenant_id)
    namespace = names.namespace_of(tenant_id)
    gone = frozenset({204, 404})
    call_blocking(
        config, Breaker("test"), NetHsmRequest("DELETE", f"/namespaces/{namespace}", access.root(config), gone)
    )


def test_a_real_key_is_made_signs_and_is_deleted(config, name):
    keeper = NetHsmKeyManager(config)
    assert keeper.check(name).phase is HsmKeyPhase.MISSING
    keeper.create(name)
    keeper.create(name)
    status = keeper.check(name)
    assert status.phase is HsmKeyPhase.READY
    key_id = uuid.UUID(names.split(name)[1][1:])
    public_key = status.public_key[1:]
    key = KeyRef(key_id, key_id, public_key.hex(), "hsm", "nethsm", hsm=HsmRef(name, name))

    async def sign():
        signer, took = NetHsmSigner(config), []
        for _ in range(20):
            message, started = os.urandom(32), time.monotonic()
            assert schnorr.verify(public_key, message, await signer.sign_event_id(key, None, message))
            took.append(time.monotonic() - started)
        keeper.destroy(name)
        with pytest.raises(HsmKeyUnusable):
            await signer.sign_event_id(key, None, os.urandom(32))
        await clients.close()
        return statistics.median(took)

    print(f"median of a signature: {asyncio.run(sign()) * 1000:.1f} ms")
    assert keeper.versions(name) == []
