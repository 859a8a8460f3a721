"""A half that a browser sealed opens for the signer, key, tenant and page that it was sealed for, and for no other."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace

import pytest

from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.signing import sealed_halves
from keys.signing.sealed_halves import SEALED_SIZE, SUITE, HalfRole, SealedHalfError, open_half
from tests.keys.signing.page import drawn, seal

ROLES = (HalfRole.SIGNER, HalfRole.COSIGNER)


class Page:
    """One page with two signers' encryption keys."""

    def __init__(self) -> None:
        self.secret = Keypair.generate()[1]
        self.said, *halves = drawn(self.secret)
        self.halves = dict(zip(ROLES, halves, strict=True))
        self.private = {role: sealed_halves.fresh_key() for role in ROLES}

    def sealed(self, role: HalfRole, **told: object) -> bytes:
        return seal(self.halves[role], sealed_halves.public_of(self.private[role]), self.said, role, **told)


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "told",
    [
        {"tenant_id": uuid.uuid4()},
        {"key_id": uuid.uuid4()},
        {"token": os.urandom(32)},
        {"public_key": os.urandom(32)},
        {"half_a": os.urandom(32)},
        {"half_b": os.urandom(32)},
        {"tweak": os.urandom(32)},
    ],
)
def test_a_half_sealed_for_something_else_does_not_open(page: Page, role: HalfRole, told: dict[str, object]) -> None:
    with pytest.raises(SealedHalfError):
        open_half(page.sealed(role, **told), page.private[role], page.said, role)


def test_one_signers_half_is_not_taken_for_the_others(page: Page) -> None:
    private, public = page.private[HalfRole.SIGNER], sealed_halves.public_of(page.private[HalfRole.SIGNER])
    for half in page.halves.values():
        with pytest.raises(SealedHalfError):
            open_half(seal(half, public, page.said, HalfRole.COSIGNER), private, page.said, HalfRole.SIGNER)
    with pytest.raises(SealedHalfError):
        open_half(page.sealed(HalfRole.COSIGNER), private, page.said, HalfRole.COSIGNER)
    swapped = seal(page.halves[HalfRole.COSIGNER], public, page.said, HalfRole.SIGNER)
    with pytest.raises(SealedHalfError):
        open_half(swapped, private, page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("cut", [0, 1, 48, 64, 65, SEALED_SIZE - 1])
def test_a_truncated_half_does_not_open(page: Page, cut: int) -> None:
    with pytest.raises(SealedHalfError):
        open_half(page.sealed(HalfRole.SIGNER)[:cut], page.private[HalfRole.SIGNER], page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("changed", [0, 30, 64, 65, 100, SEALED_SIZE - 1])
def test_an_altered_half_does_not_open(page: Page, changed: int) -> None:
    sealed = bytearray(page.sealed(HalfRole.SIGNER))
    sealed[changed] ^= 1
    with pytest.raises(SealedHalfError):
        open_half(bytes(sealed), page.private[HalfRole.SIGNER], page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("field", ["public_key", "half_a", "half_b", "tweak"])
def test_halves_that_do_not_make_the_key_that_was_said_are_refused(page: Page, field: str) -> None:
    other = even_half()[0].public_key
    page.said = replace(page.said, **{field: other})
    with pytest.raises(SealedHalfError):
        open_half(page.sealed(HalfRole.SIGNER), page.private[HalfRole.SIGNER], page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("field", ["token", "public_key", "half_a", "half_b", "tweak"])
def test_parts_of_another_length_are_refused(page: Page, field: str) -> None:
    said = replace(page.said, **{field: getattr(page.said, field) + b"\x00"})
    with pytest.raises(SealedHalfError):
        said.require_sound()


@pytest.mark.parametrize("size", [31, 33])
def test_what_is_no_half_is_refused_though_it_opens(page: Page, size: int) -> None:
    public = sealed_halves.public_of(page.private[HalfRole.SIGNER])
    sealed = seal(SecretBytes(bytes(size)), public, page.said, HalfRole.SIGNER)
    with pytest.raises(SealedHalfError):
        open_half(sealed, page.private[HalfRole.SIGNER], page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("other", [SecretBytes(bytes(32)), even_half()[1]])
def test_another_half_than_was_said_is_refused(page: Page, other: SecretBytes) -> None:
    public = sealed_halves.public_of(page.private[HalfRole.SIGNER])
    with pytest.raises(SealedHalfError):
        sealed = seal(other, public, page.said, HalfRole.SIGNER)
        open_half(sealed, page.private[HalfRole.SIGNER], page.said, HalfRole.SIGNER)


@pytest.mark.parametrize("role", ROLES)
def test_each_signer_opens_its_own_half(page: Page, role: HalfRole) -> None:
    keypair, secret = open_half(page.sealed(role), page.private[role], page.said, role)
    with keypair, secret:
        assert secret == page.halves[role]


def test_a_private_key_survives_being_kept() -> None:
    private = sealed_halves.fresh_key()
    with sealed_halves.private_bytes(private) as kept:
        again = sealed_halves.loaded(kept)
    sealed = SUITE.encrypt(b"x", private.public_key(), info=b"y")
    assert SUITE.decrypt(sealed, again, info=b"y") == b"x"
    with pytest.raises(SealedHalfError):
        sealed_halves.loaded(SecretBytes(b"no key"))


def test_people_compare_a_key_by_twenty_digits() -> None:
    assert sealed_halves.fingerprint(b"abc") == "ba78 16bf 8f01 cfea 4141"
