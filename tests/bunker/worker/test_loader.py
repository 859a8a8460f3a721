"""What a worker reads in its two queries is what everybody else knows of the same rows."""

from __future__ import annotations

import pytest

from bunker.worker.loader import load
from keys.lifecycle.rows import key_ref, transport_ref
from keys.models import PersonalKey, TransportKey
from keys.refs import HsmRef
from tests.bunker.services.conftest import House, house

__all__ = ["house"]

HSM = {
    "key_mode": "hsm",
    "kek_provider": "",
    "encrypted_secret_key": None,
    "kms_key_name": "ring/cryptoKeys/a",
    "kms_key_version": "ring/cryptoKeys/a/cryptoKeyVersions/1",
    "authoriser_public_key": "02" + "ab" * 32,
}
NETHSM = HSM | {"hsm_provider": "nethsm", "kek_version": ""}
SPLIT = (
    HSM
    | {"hsm_provider": "google", "encrypted_half_key": b"half", "kek_version": "7", "key_tweak": "cd" * 32}
    | {"cosigner_public_key": "ef" * 32}
)


@pytest.mark.parametrize("kept", [{}, NETHSM, SPLIT], ids=["encrypted", "nethsm", "split"])
def test_a_worker_has_the_same_references_as_the_row(house: House, kept: dict[str, object]) -> None:
    house.issue()
    PersonalKey.objects.filter(pk=house.key.pk).update(**kept)
    transport, key = TransportKey.objects.get(key=house.key), PersonalKey.objects.get(pk=house.key.pk)
    signer = load().signers[transport.public_key]
    assert signer.key == key_ref(key)
    assert signer.transport == transport_ref(transport)


def test_a_split_key_brings_its_half_and_each_column_of_the_hsm(house: House) -> None:
    PersonalKey.objects.filter(pk=house.key.pk).update(**SPLIT)
    found = key_ref(PersonalKey.objects.get(pk=house.key.pk))
    assert found.sealed is not None
    assert (found.sealed.provider, found.sealed.kek_version, found.sealed.blob) == ("", "7", b"half")
    assert found.hsm == HsmRef(
        key_name="ring/cryptoKeys/a",
        key_version="ring/cryptoKeys/a/cryptoKeyVersions/1",
        authoriser="02" + "ab" * 32,
        tweak="cd" * 32,
        cosigner_public_key="ef" * 32,
    )
