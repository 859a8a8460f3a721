"""Keys in OpenBao: made, used, disabled, destroyed; the same on our stand-in and on the genuine one, where named."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from keycast.crypto import authoriser_keys
from keycast.crypto.authoriser_keys import Curve
from keys.errors import NoCapability
from keys.hsm.inventory.listing import HsmKeyVersionState
from keys.hsm.openbao import inspection, names
from keys.hsm.openbao.listing import OpenBaoKeyReader
from keys.hsm.protocol import HsmKeyPhase
from keys.hsm_errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured
from tests.keys.hsm.openbao.conftest import make_hsm_key


@pytest.mark.parametrize(
    "name", ["", "kek", "kc-0123456789ab-", "../kek", "kc-0123456789ab-0123456789abcdef01234567/config"]
)
def test_nothing_else_there_is_ever_touched(server, keeper, name):
    for call in (keeper.create, keeper.check, keeper.versions, keeper.disable, keeper.enable, keeper.destroy):
        with pytest.raises(HsmMisconfigured):
            call(name)
    with pytest.raises(HsmMisconfigured):
        OpenBaoKeyReader().look(name)
    assert OpenBaoKeyReader().public_key(name) is None


def test_another_token_may_do_nothing(server, keeper, settings):
    settings.OPENBAO_TOKEN = "another"
    with pytest.raises(HsmForbidden):
        keeper.create(names.new(uuid4()))


async def test_a_disabled_key_signs_nothing_and_stops_nobody_else(server, keeper, authoriser):
    hsm, other = make_hsm_key(keeper), make_hsm_key(keeper)
    keeper.disable(hsm.key_version)
    keeper.disable(hsm.key_version)
    assert "disabled" in keeper.check(hsm.key_name).reason
    for _ in range(6):
        with pytest.raises(HsmKeyUnusable):
            await authoriser.authorise(hsm, os.urandom(32))
    assert not authoriser.breaker.is_open
    await authoriser.authorise(other, os.urandom(32))
    (version,) = OpenBaoKeyReader().look(hsm.key_name).versions
    assert version.state is HsmKeyVersionState.DISABLED
    keeper.enable(hsm.key_version)
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.READY
    await authoriser.authorise(hsm, os.urandom(32))


def test_where_the_server_cannot_disable_keycast_says_so(server, keeper, settings):
    hsm = make_hsm_key(keeper)
    settings.OPENBAO_CAN_DISABLE = False
    with pytest.raises(NoCapability):
        keeper.disable(hsm.key_version)


@pytest.mark.parametrize("is_disabled", [False, True])
async def test_a_destroyed_key_is_gone_for_good(server, keeper, authoriser, is_disabled):
    hsm = make_hsm_key(keeper)
    if is_disabled:
        keeper.disable(hsm.key_version)
    keeper.destroy(hsm.key_version)
    keeper.destroy(hsm.key_version)
    assert keeper.versions(hsm.key_name) == []
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.MISSING
    with pytest.raises(HsmKeyUnusable):
        await authoriser.authorise(hsm, os.urandom(32))
    with pytest.raises(HsmKeyUnusable):
        keeper.enable(hsm.key_version)


async def test_every_signature_is_low_s_and_verifies(server, keeper, authoriser):
    hsm = make_hsm_key(keeper)
    key = bytes.fromhex(hsm.authoriser)
    assert authoriser_keys.curve_of(key) is Curve.P256
    for _ in range(16):
        digest = os.urandom(32)
        signature = await authoriser.authorise(hsm, digest)
        assert authoriser_keys.normalise(key, signature) == signature
        assert authoriser_keys.verify(key, digest, signature)


def test_making_it_again_leaves_the_key_as_it_is(server, keeper):
    hsm = make_hsm_key(keeper)
    keeper.create(hsm.key_name)
    assert keeper.check(hsm.key_name).public_key.hex() == hsm.authoriser


def test_the_inventory_lists_each_key_once_and_tells_its_public_key(server, keeper):
    hsm = make_hsm_key(keeper)
    reader = OpenBaoKeyReader()
    page = reader.page("")
    assert [key.is_ours for key in page.held if key.name == hsm.key_name] == [True]
    (version,) = reader.look(hsm.key_name).versions
    assert (version.state, version.is_right_kind) == (HsmKeyVersionState.USABLE, True)
    assert reader.public_key(hsm.key_name).hex() == hsm.authoriser
    assert reader.look(names.new(uuid4())) is None


def test_the_doctor_tells_a_server_that_answers_from_one_that_refuses(server, settings):
    report = inspection._server()
    assert report.is_ok
    assert ("EMULATED" in report.detail) is (server == "stand-in")
    settings.OPENBAO_TOKEN = "another"
    assert not inspection._server().is_ok
    settings.OPENBAO_URL = "http://bao.example"
    assert "https" in inspection._server().detail


def test_an_engine_without_keys_is_an_empty_page(emulator):
    assert OpenBaoKeyReader().page("").held == []


def test_a_token_is_read_from_its_file_each_time(emulator, keeper, settings, tmp_path):
    file = tmp_path / "token"
    settings.OPENBAO_TOKEN, settings.OPENBAO_TOKEN_FILE = "", str(file)
    with pytest.raises(HsmMisconfigured):
        keeper.versions(names.new(uuid4()))
    file.write_text("renewed by an agent\n")
    with pytest.raises(HsmForbidden):
        keeper.versions(names.new(uuid4()))
    emulator.token = "renewed by an agent"
    assert keeper.versions(names.new(uuid4())) == []


async def test_who_manages_keys_may_be_another_than_who_signs(emulator, keeper, authoriser, settings, tmp_path):
    hsm = make_hsm_key(keeper)
    file = tmp_path / "manager"
    file.write_text("the manager")
    settings.OPENBAO_MANAGER_TOKEN_FILE = str(file)
    await authoriser.authorise(hsm, os.urandom(32))
    with pytest.raises(HsmForbidden):
        keeper.versions(hsm.key_name)


@pytest.mark.parametrize("change", [{"type": "ed25519"}, {"exportable": True}])
def test_a_key_of_another_kind_under_our_name_is_not_used(emulator, keeper, change):
    hsm = make_hsm_key(keeper)
    for name, value in change.items():
        setattr(emulator.keys[hsm.key_name], name, value)
    assert keeper.check(hsm.key_name).phase is HsmKeyPhase.FAILED


def test_an_emulator_is_refused_in_production(emulator, keeper, settings):
    settings.IS_PRODUCTION = True
    with pytest.raises(HsmMisconfigured, match="emulator"):
        keeper.create(names.new(uuid4()))
