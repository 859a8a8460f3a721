"""Key-encryption keys in a token: nothing moved or altered opens, keys stay there, and a rotation goes to the next."""

from __future__ import annotations

import asyncio
import uuid

import pkcs11
import pytest

from keycast.crypto.secret import SecretBytes
from keys import selectors, services
from keys.errors import KekUnavailable, KeyDamaged
from keys.hsm.pkcs11 import client, provider
from keys.hsm.pkcs11 import kek as keks
from keys.hsm.pkcs11.kek import Pkcs11KekProvider
from keys.hsm.pkcs11.kek_versions import Pkcs11KekVersions
from keys.rotation import runner
from keys.rotation import services as rotations
from keys.signing import runtime
from keys.signing.kms import registry
from tests.keys.conftest import make_key
from tests.keys.cosigner.rows import again
from tests.keys.cosigner.support import note
from tests.keys.hsm.pkcs11.conftest import in_token
from tests.keys.rotation.conftest import OPERATOR

pytestmark = [pytest.mark.needs_softhsm, pytest.mark.opens_keys]
TENANT, OTHER = uuid.uuid4(), uuid.uuid4()
BASE = "keycast-kek"


@pytest.fixture
def kek(token):
    made = Pkcs11KekProvider(BASE)
    made.make(1)
    return made


@pytest.fixture
def wrapped(kek):
    with SecretBytes(b"\x07" * 32) as data_key:
        return kek.wrap(data_key, tenant_id=TENANT, aad=b"here")


def opened(kek, wrapped, **changes):
    given = {"blob": wrapped.blob, "kek_version": wrapped.kek_version, "tenant_id": TENANT, "aad": b"here"} | changes
    with kek.unwrap(given.pop("blob"), **given) as secret:
        return secret.view().tobytes()


@pytest.mark.parametrize("base", ["", "a/b", "a b", "x" * 33])
def test_what_is_no_beginning_of_a_label_is_refused(base):
    with pytest.raises(KekUnavailable):
        Pkcs11KekProvider(base)


def test_without_a_key_nothing_is_sealed_and_none_is_made(token):
    with SecretBytes(b"\x07" * 32) as data_key, pytest.raises(KekUnavailable, match="keycast-kek-1"):
        Pkcs11KekProvider(BASE).wrap(data_key, tenant_id=TENANT, aad=b"")
    assert in_token(lambda session: list(session.get_objects())) == []


@pytest.mark.parametrize(
    "changes",
    [{"tenant_id": OTHER}, {"aad": b"there"}, {"blob": b"\x01" + b"\x00" * 60}, {"blob": b""}, {"blob": b"\x02" * 61}],
)
def test_what_was_moved_or_altered_does_not_open(kek, wrapped, changes):
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, **changes)
    assert opened(kek, wrapped) == b"\x07" * 32
    assert not kek._breaker.is_open


def test_another_version_opens_nothing_of_this_one(kek, wrapped):
    kek.make(2)
    with pytest.raises(KeyDamaged):
        opened(kek, wrapped, kek_version=f"pkcs11:{BASE}-2")
    for unknown in ("pkcs11:other-1", f"pkcs11:{BASE}-x", "local-1", "projects/p"):
        with pytest.raises(KekUnavailable):
            opened(kek, wrapped, kek_version=unknown)


def test_a_token_that_is_away_is_no_damage(kek, wrapped, settings):
    in_token(lambda session: session.close())
    settings.PKCS11_TOKEN = "no such token"
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)


def test_a_key_that_may_leave_the_token_is_not_used(token):
    def work(session):
        session.generate_key(
            pkcs11.KeyType.AES, 256, label=f"{BASE}-1", store=True, template={pkcs11.Attribute.EXTRACTABLE: True}
        )

    in_token(work)
    assert Pkcs11KekProvider(BASE).known_versions() == ()


def test_a_key_is_made_for_sealing_alone_and_stays_in_the_token(kek):
    names = ("SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "ENCRYPT", "DECRYPT", "EXTRACTABLE", "SIGN", "WRAP", "UNWRAP")

    def look(session):
        (key,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})
        return [name for name in names if key[pkcs11.Attribute[name]]]

    assert in_token(look) == ["SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "ENCRYPT", "DECRYPT"]


def test_what_was_sealed_before_a_new_version_opens_after_it(kek, wrapped):
    versions = Pkcs11KekVersions(BASE)
    plan = versions.plan()
    assert versions.make(plan) == versions.make(plan) == f"pkcs11:{BASE}-2"
    assert Pkcs11KekProvider(BASE).known_versions() == (f"pkcs11:{BASE}-1", f"pkcs11:{BASE}-2")
    assert versions.others() == (f"pkcs11:{BASE}-1",)
    assert opened(kek, wrapped) == b"\x07" * 32
    with SecretBytes(b"\x08" * 32) as data_key:
        assert kek.wrap(data_key, tenant_id=TENANT, aad=b"").kek_version == f"pkcs11:{BASE}-1", "for a minute"
    assert f"{BASE}-1" in versions.by_hand(f"pkcs11:{BASE}-1")
    with pytest.raises(KekUnavailable):
        versions.retire(f"pkcs11:{BASE}-1")


def test_a_key_that_is_gone_opens_nothing_and_is_no_damage(kek, wrapped):
    assert opened(kek, wrapped) == b"\x07" * 32
    in_token(lambda session: [key.destroy() for key in list(session.get_objects())])
    with pytest.raises(KekUnavailable):
        opened(kek, wrapped)


@pytest.mark.django_db
def test_keys_are_sealed_in_the_token_and_move_to_its_next_version(kek, settings, monkeypatch, tenant, user):
    settings.PKCS11_KEK, settings.KEK_PROVIDER = BASE, "pkcs11"
    monkeypatch.setattr(Pkcs11KekVersions, "settle_seconds", 0.0)
    registry.register("pkcs11", provider.kek)
    registry.reset()
    try:
        row = make_key(user, tenant)
        assert (row.kek_provider, row.kek_version) == ("pkcs11", f"pkcs11:{BASE}-1")
        job = runner.run_for(rotations.start(actor=OPERATOR, kind="kek", scope="all").id)
        moved = again(row)
        assert moved.kek_version == f"pkcs11:{BASE}-2", job
        key = selectors.key_ref(moved)
        asyncio.run(runtime.signing_service().sign_event(key, note(key)))
        assert services.lock_key(actor=OPERATOR, key=moved)
    finally:
        registry._factories.pop("pkcs11")
        registry.reset()
        runtime.signing_service.cache_clear()
        client.reset()
    assert keks.number_of(moved.kek_version, BASE) == 2
