"""What a token holds, compared with rows; and how it looks to an operator."""

from __future__ import annotations

from uuid import uuid4

import pytest

from keycast.crypto.authoriser_keys import Curve
from keys.hsm.inventory.listing import HsmKeyVersionState
from keys.hsm.pkcs11 import inspection, keypairs, names
from keys.hsm.pkcs11.listing import Pkcs11KeyReader
from keys.hsm_errors import HsmMisconfigured
from tests.keys.hsm.pkcs11.conftest import in_token, make_hsm_key

pytestmark = pytest.mark.needs_softhsm


@pytest.fixture
def reader(token):
    return Pkcs11KeyReader()


def test_a_name_that_keycast_gives_to_none_is_never_asked_for(reader):
    with pytest.raises(HsmMisconfigured):
        reader.look("kek")
    assert reader.look(names.new(uuid4())) is None
    assert reader.public_key(names.new(uuid4())) is None


def test_an_empty_token_is_an_empty_page(reader):
    page = reader.page("")
    assert (page.held, page.cursor, page.total, page.unseen) == ([], "", 0, [])


def test_all_keys_are_one_page_and_others_are_told_apart(reader, keeper, monkeypatch):
    monkeypatch.setattr("keys.hsm.pkcs11.listing.AT_ONCE", 2)
    ours = sorted(make_hsm_key(keeper).key_name for _ in range(5))
    in_token(_foreign)
    page = reader.page("")
    assert [key.name for key in page.held if key.is_ours] == ours
    assert [key.name for key in page.held if not key.is_ours] == ["somebody else's"]
    assert page.total == 6


def _foreign(session):
    import pkcs11

    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: keypairs.PARAMETERS[Curve.SECP256K1]}, local=True
    )
    curve.generate_keypair(label="somebody else's", store=True)


def test_a_label_that_two_keys_have_is_said(reader, keeper):
    hsm = make_hsm_key(keeper)
    in_token(lambda session: keypairs.generate(session, hsm.key_name))
    assert reader.page("").unseen == [f"{hsm.key_name}: 2 keys of this label"]
    (version,) = reader.look(hsm.key_name).versions
    assert not version.is_right_kind


def test_a_key_is_its_only_version_with_its_state_and_public_key(reader, keeper):
    hsm = make_hsm_key(keeper)
    (version,) = reader.look(hsm.key_name).versions
    assert (version.name, version.state, version.is_right_kind) == (hsm.key_name, HsmKeyVersionState.USABLE, True)
    assert reader.public_key(hsm.key_name).hex() == hsm.authoriser
    keeper.disable(hsm.key_name)
    (version,) = reader.look(hsm.key_name).versions
    assert version.state is HsmKeyVersionState.DISABLED


def test_the_doctor_says_what_is_missing_and_that_software_protects_little(token, settings, monkeypatch):
    report = inspection._token()
    assert report.is_ok
    assert "KEPT IN SOFTWARE" in report.detail
    settings.PKCS11_TOKEN = ""
    assert "label" in inspection._token().detail
    settings.PKCS11_TOKEN = "no such token"
    assert not inspection._token().is_ok
    monkeypatch.setattr("keys.hsm.pkcs11.config.is_installed", lambda: False)
    missing = inspection._token()
    assert not missing.is_ok
    assert "requirements/pkcs11.txt" in missing.fix
