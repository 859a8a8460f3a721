"""Key pairs in a token: what they are, and how they are made, disabled and destroyed."""

from __future__ import annotations

import os
from uuid import uuid4

import pkcs11
import pytest
from pkcs11.util.ec import encode_named_curve_parameters

from keycast.crypto import ecdsa
from keycast.crypto.authoriser_keys import Curve
from keys.errors import NoCapability
from keys.hsm.pkcs11 import keeper as keepers
from keys.hsm.pkcs11 import keypairs, library, names
from keys.hsm.pkcs11.failures import TokenFailure
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured, HsmUnavailable
from tests.keys.hsm.pkcs11.conftest import in_token, make_hsm_key

pytestmark = pytest.mark.needs_softhsm
Attribute = pkcs11.Attribute


def private(name):
    return lambda session: keypairs.private_keys(session, name)[0]


def make_other_kind(name, curve="1.3.132.0.10", **private_template):
    """A key pair as Keycast makes none, under a name of Keycast's."""

    def work(session):
        params = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
        domain = session.create_domain_parameters(pkcs11.KeyType.EC, params, local=True)
        template = {Attribute[each]: value for each, value in private_template.items()}
        domain.generate_keypair(label=name, store=True, private_template=template)

    in_token(work)


@pytest.mark.parametrize("name", ["", "kek", "user-1", "kc-0123456789ab-", "projects/p/cryptoKeys/k", "*"])
def test_nothing_else_in_the_token_is_ever_touched(keeper, name):
    for call in (keeper.create, keeper.check, keeper.versions, keeper.disable, keeper.enable, keeper.destroy):
        with pytest.raises(HsmMisconfigured):
            call(name)


@pytest.mark.parametrize(
    ("curve", "template"),
    [
        ("1.3.132.0.34", {}),  # P-384
        ("1.3.132.0.10", {"SENSITIVE": False}),
        ("1.3.132.0.10", {"EXTRACTABLE": True}),
        ("1.3.132.0.10", {"DERIVE": True}),
    ],
)
def test_a_key_of_another_kind_under_our_name_is_not_used(keeper, curve, template):
    name = names.new(uuid4())
    given = {"SENSITIVE": True, "EXTRACTABLE": False, "SIGN_RECOVER": False, "DERIVE": False} | template
    make_other_kind(name, curve, **given)
    keeper.create(name)
    status = keeper.check(name)
    assert (status.phase, status.public_key) == (HsmKeyPhase.FAILED, b"")
    assert "another kind" in status.reason


def test_a_key_that_was_put_into_the_token_is_not_used(keeper):
    name = names.new(uuid4())
    scalar = os.urandom(32)

    def work(session):
        session.create_object(
            {
                Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
                Attribute.KEY_TYPE: pkcs11.KeyType.EC,
                Attribute.EC_PARAMS: keypairs.PARAMETERS[Curve.SECP256K1],
                Attribute.VALUE: scalar,
                Attribute.LABEL: name,
                Attribute.TOKEN: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                Attribute.SIGN: True,
            }
        )

    in_token(work)
    assert keeper.check(name).phase is HsmKeyPhase.FAILED


def test_two_keys_of_one_name_are_not_used(keeper):
    name = names.new(uuid4())
    for _ in range(2):
        in_token(lambda session: keypairs.generate(session, name))
    assert keeper.check(name).phase is HsmKeyPhase.PENDING
    keeper.destroy(name)
    assert keeper.versions(name) == []


def test_whoever_makes_a_key_for_a_second_time_takes_its_own_back(keeper, monkeypatch):
    name = names.new(uuid4())
    generate = keypairs.generate

    def both(session, label, curve):
        if not keypairs.private_keys(session, label):
            generate(session, label)  # by another process, between our look and our making
        return generate(session, label, curve)

    monkeypatch.setattr(keepers.keypairs, "generate", both)
    keeper.create(name)
    assert keeper.check(name).phase is HsmKeyPhase.READY
    assert len(in_token(lambda session: keypairs.private_keys(session, name))) == 1


def test_a_new_key_can_do_nothing_but_sign_and_cannot_leave_the_token(keeper, hsm):
    found = in_token(
        lambda session: {
            each: private(hsm.key_name)(session)[Attribute[each]]
            for each in (
                *("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "TOKEN", "PRIVATE", "SIGN"),
                *("EXTRACTABLE", "DERIVE", "DECRYPT", "UNWRAP", "SIGN_RECOVER"),
            )
        }
    )
    assert [name for name, value in found.items() if value] == [
        *("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "TOKEN", "PRIVATE", "SIGN")
    ]
    with pytest.raises(TokenFailure, match="AttributeSensitive"):
        in_token(lambda session: private(hsm.key_name)(session)[Attribute.VALUE])


def test_a_label_shows_the_tenant_and_fits_the_narrowest_tokens(keeper):
    tenant_id = uuid4()
    hsm = make_hsm_key(keeper, tenant_id)
    assert hsm.key_name.startswith(f"kc-{tenant_id.hex[:12]}-")
    assert len(hsm.key_name) == 40
    assert in_token(lambda session: private(hsm.key_name)(session)[Attribute.ID]) == names.id_of(hsm.key_name)


def test_making_it_again_leaves_the_key_as_it_is(keeper, hsm):
    keeper.create(hsm.key_name)
    again = keeper.check(hsm.key_name)
    assert (again.phase, again.version, again.public_key.hex()) == (HsmKeyPhase.READY, hsm.key_name, hsm.authoriser)
    assert keeper.public_key(hsm.key_version).hex() == hsm.authoriser


def test_a_name_that_no_key_has_is_missing(keeper):
    name = names.new(uuid4())
    assert keeper.check(name).phase is HsmKeyPhase.MISSING
    assert keeper.versions(name) == []
    keeper.destroy(name)
    with pytest.raises(HsmKeyUnusable):
        keeper.enable(name)


async def test_a_disabled_key_signs_nothing_until_it_is_enabled(keeper, authoriser, hsm):
    keeper.disable(hsm.key_version)
    keeper.disable(hsm.key_version)
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.FAILED
    with pytest.raises(HsmKeyUnusable):
        await authoriser.authorise(hsm, os.urandom(32))
    assert not authoriser.breaker.is_open
    keeper.enable(hsm.key_version)
    digest = os.urandom(32)
    assert ecdsa.verify(bytes.fromhex(hsm.authoriser), digest, await authoriser.authorise(hsm, digest))


def test_where_the_token_cannot_disable_keycast_says_so(keeper, hsm, settings, monkeypatch):
    settings.PKCS11_CAN_DISABLE = False
    with pytest.raises(NoCapability):
        keeper.disable(hsm.key_version)
    settings.PKCS11_CAN_DISABLE = True

    def read_only(*_):
        raise pkcs11.exceptions.AttributeReadOnly

    monkeypatch.setattr(keypairs, "may_sign", read_only)
    with pytest.raises((NoCapability, HsmMisconfigured)):
        keeper.disable(hsm.key_version)


async def test_a_destroyed_key_is_gone_at_once_with_its_public_part(keeper, authoriser, hsm):
    await authoriser.authorise(hsm, os.urandom(32))  # its handle is known now
    keeper.destroy(hsm.key_version)
    keeper.destroy(hsm.key_version)
    assert in_token(lambda session: list(session.get_objects({Attribute.LABEL: hsm.key_name}))) == []
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.MISSING
    with pytest.raises(HsmKeyUnusable):
        await authoriser.authorise(hsm, os.urandom(32))


def test_a_wrong_pin_is_tried_once_and_never_again(keeper, settings, monkeypatch):
    in_token(lambda session: session.close())
    settings.PKCS11_PIN = "not the pin"
    asked = []
    original = library.load
    monkeypatch.setattr(library, "load", lambda path: CountingLibrary(original(path), asked))
    for _ in range(5):
        with pytest.raises(HsmForbidden) as caught:
            keeper.versions(names.new(uuid4()))
        assert "not the pin" not in f"{caught.value!r} {caught.value}"
    assert asked == ["not the pin"]


class CountingLibrary:
    """The module, whose tokens note the PINs that they are asked with."""

    def __init__(self, found, asked):
        self._found, self._asked = found, asked

    def get_tokens(self, **wanted):
        return [CountingToken(each, self._asked) for each in self._found.get_tokens(**wanted)]


class CountingToken:
    def __init__(self, found, asked):
        self._found, self._asked = found, asked
        self.manufacturer_id, self.model = found.manufacturer_id, found.model

    def open(self, *, rw, user_pin=None):
        self._asked.append(user_pin)
        return self._found.open(rw=rw, user_pin=user_pin)


def test_a_token_that_is_not_there_is_waited_for(keeper, settings):
    settings.PKCS11_TOKEN = "no such token"
    with pytest.raises(HsmUnavailable):
        keeper.versions(names.new(uuid4()))
