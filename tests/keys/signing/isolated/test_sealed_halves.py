"""Signer A draws a page's encryption key and takes half A, wherever it runs; the private key leaves it sealed."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keys.errors import SealedHalfRefused
from keys.signing import factory
from keys.signing.kms import registry
from keys.signing.sealed_halves import HalfRole, SealedHalves
from keys.signing.vault import unlock
from tests.keys.signing.page import drawn, seal

pytestmark = pytest.mark.usefixtures("shape")


@pytest.fixture
def halves(shape):
    said, a, b = drawn(Keypair.generate()[1])
    key = factory.key_maker().draw_page_key(tenant_id=said.tenant_id, key_id=said.key_id)
    sealed = seal(a, key.public, said, HalfRole.SIGNER)
    return SealedHalves(said, key, sealed, seal(b, key.public, said, HalfRole.COSIGNER))


@pytest.mark.parametrize("field", ["tenant_id", "key_id", "token", "public_key", "half_a", "half_b", "tweak"])
def test_a_half_for_another_place_is_refused(halves, field):
    other = uuid4() if field.endswith("_id") else even_half()[0].public_key
    with pytest.raises(SealedHalfRefused):
        factory.key_maker().take_half(replace(halves, said=replace(halves.said, **{field: other})))


def test_another_pages_key_does_not_open_it(halves):
    other = factory.key_maker().draw_page_key(tenant_id=halves.said.tenant_id, key_id=halves.said.key_id)
    with pytest.raises(SealedHalfRefused):
        factory.key_maker().take_half(replace(halves, page_key=other))
    with pytest.raises(SealedHalfRefused):
        factory.key_maker().take_half(replace(halves, page_key=replace(halves.page_key, public=other.public)))


@pytest.mark.parametrize("sealed", [b"", b"x" * 112, b"x" * 113])
def test_what_is_no_sealed_half_is_refused(halves, sealed):
    with pytest.raises(SealedHalfRefused):
        factory.key_maker().take_half(replace(halves, sealed_a=sealed))


def test_the_co_signers_half_is_not_taken_for_signer_as(halves):
    with pytest.raises(SealedHalfRefused):
        factory.key_maker().take_half(replace(halves, sealed_a=halves.sealed_b))


def test_half_a_comes_back_sealed_for_its_row(halves, shape):
    half = factory.key_maker().take_half(halves)
    assert half.public == halves.said.half_a
    if shape == "in this process":
        place = half.place(halves.said.tenant_id, halves.said.key_id)
        unlock(half.sealed, place, registry.provider(half.sealed.provider)).wipe()
