"""Against real Google Cloud KMS, with application default credentials. Each run makes one HSM key and destroys it.

``KEYCAST_TEST_GCP_KEY_RING=projects/…/locations/…/keyRings/…`` names a key ring for tests, in a location that has
HSMs; ``KEYCAST_TEST_GCP_KEK`` a symmetric key. Roles needed: docs of Keycast on Google Cloud.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import uuid

import pytest

from keycast.crypto import ecdsa
from keycast.crypto.secret import SecretBytes
from keys.cosigner.attestation import require_attested
from keys.cosigner.attestation.roots import AttestationRoots
from keys.errors import KeyDamaged
from keys.hsm.google import clients
from keys.hsm.google.authoriser import GoogleAuthoriser
from keys.hsm.google.keeper import GoogleKeyManager
from keys.hsm.google.kek import GoogleKekProvider
from keys.hsm.google.listing import GoogleKeyReader
from keys.hsm.inventory.listing import HsmKeyVersionState
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmKeyUnusable
from keys.refs import HsmRef

RING = os.environ.get("KEYCAST_TEST_GCP_KEY_RING", "")
KEK = os.environ.get("KEYCAST_TEST_GCP_KEK", "")
GENERATED_WITHIN = 600
DISABLED_WITHIN = 300

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.needs_google,
    pytest.mark.timeout(GENERATED_WITHIN + DISABLED_WITHIN + 120),
]
needs_ring = pytest.mark.skipif(not RING, reason="REAL GOOGLE CLOUD NOT TESTED: set KEYCAST_TEST_GCP_KEY_RING")
needs_kek = pytest.mark.skipif(not KEK, reason="REAL GOOGLE CLOUD NOT TESTED: set KEYCAST_TEST_GCP_KEK")


@pytest.fixture(autouse=True)
def genuine(settings):
    settings.KMS_EMULATOR, settings.KMS_ENDPOINT = False, ""
    clients.reset()
    yield
    clients.reset()


def generated(keeper, name):
    until = time.monotonic() + GENERATED_WITHIN
    while (status := keeper.check(name)).phase is HsmKeyPhase.PENDING and time.monotonic() < until:
        time.sleep(2)
    return status


@needs_ring
def test_the_whole_life_of_a_key():
    keeper, name_id = GoogleKeyManager(RING), f"user-{uuid.uuid4()}"
    name = keeper.create(name_id).name
    try:
        assert keeper.create(name_id).name == name
        status = generated(keeper, name)
        assert status.phase is HsmKeyPhase.READY
        hsm = HsmRef(name, status.version, status.public_key.hex())
        asyncio.run(authorise_often(hsm))
        inventory_sees(hsm)
        # As the co-signer does in production: to the roots that are built in.
        roots = AttestationRoots.found(None, is_production=True)
        require_attested(status.public_key, keeper.proof(name), RING, roots)
        keeper.disable(hsm.key_version)
        print(f"real Cloud KMS: disabled after {disabled_after(hsm):.0f} s")
        keeper.enable(hsm.key_version)
    finally:
        for version in keeper.versions(name):
            keeper.destroy(version)
    assert keeper.versions(name) == []


def disabled_after(hsm):
    """Seconds until a disabled version signs no more: typically up to a minute."""
    began = time.monotonic()
    while time.monotonic() - began < DISABLED_WITHIN:
        try:
            asyncio.run(GoogleAuthoriser().authorise(hsm, os.urandom(32)))
        except HsmKeyUnusable:
            return time.monotonic() - began
        time.sleep(2)
    pytest.fail("a version that was disabled still signs")


def inventory_sees(hsm):
    stock, cursor, names = GoogleKeyReader(RING), "", []
    while True:
        page = stock.page(cursor)
        names += [held.name for held in page.held if held.is_ours]
        cursor = page.cursor
        if not cursor:
            break
    assert hsm.key_name in names
    [version] = stock.look(hsm.key_name).versions
    assert (version.name, version.state, version.is_right_kind) == (hsm.key_version, HsmKeyVersionState.USABLE, True)
    assert stock.public_key(version.name).hex() == hsm.authoriser


async def authorise_often(hsm):
    authoriser, seconds = GoogleAuthoriser(), []
    for _ in range(20):
        digest, started = os.urandom(32), time.monotonic()
        signature = await authoriser.authorise(hsm, digest)
        seconds.append(time.monotonic() - started)
        assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, signature)
    print(f"real Cloud KMS: median {statistics.median(seconds) * 1000:.0f} ms, slowest {max(seconds) * 1000:.0f} ms")


@needs_kek
def test_a_data_key_round_trips_and_stays_where_it_was_put():
    kek, tenant = GoogleKekProvider(KEK), uuid.uuid4()
    with SecretBytes(b"\x07" * 32) as data_key:
        wrapped = kek.wrap(data_key, tenant_id=tenant, aad=b"here")
    assert wrapped.kek_version == kek.current_version(tenant)
    with kek.unwrap(wrapped.blob, kek_version=wrapped.kek_version, tenant_id=tenant, aad=b"here") as opened:
        assert opened.view() == b"\x07" * 32
    with pytest.raises(KeyDamaged):
        kek.unwrap(wrapped.blob, kek_version=wrapped.kek_version, tenant_id=uuid.uuid4(), aad=b"here")
