"""Google's attestations: what fits in every point proves an HSM key of our key ring; what differs proves nothing."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keycast.emulators.kms.attestations import Attestations, Pair
from keys.cosigner.attestation import require_attested, roots, statement
from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.attestation.statement import UnprovenError
from tests.keys.cosigner.support import ATTESTATIONS, POLICY, RING, FakeHsm, attested

FOREIGN_RING = RING.replace("projects/test", "projects/theirs")


@pytest.fixture
def key():
    return FakeHsm().make("one")


def check(key, proof, ring=RING, given=POLICY.roots):
    require_attested(key, proof, ring, given)


def unproven(key, proof, reason, **named):
    with pytest.raises(UnprovenError, match=reason):
        check(key, proof, **named)


def changed(proof, **fields):
    return msgspec.structs.replace(proof, **fields)


def test_a_key_that_an_hsm_made_in_our_ring_is_proved(key):
    check(key, attested(key))


def test_production_does_not_accept_the_emulators_root(key):
    unproven(key, attested(key), "no chain", given=AttestationRoots.found(None, is_production=True))


def test_another_key_version_ring_or_name_is_not_proved(key):
    unproven(key, attested(FakeHsm().make("other")), "another key")
    proof = attested(key, version=f"{FOREIGN_RING}/cryptoKeys/a/cryptoKeyVersions/1")
    unproven(key, proof, "another key ring")
    # Their own attestation, and a name in our ring.
    unproven(key, changed(proof, key_version=f"{RING}/cryptoKeys/a/cryptoKeyVersions/1"), "another key version")
    unproven(key, changed(proof, key_version=f"{RING}/../x"), "another key ring")
    unproven(key, attested(key), "was not told", ring="")


def test_a_key_that_was_brought_there_or_can_leave_is_not_proved(key):
    unproven(key, attested(key, is_local=False), "can leave")
    unproven(key, attested(key, is_extractable=True), "can leave")


def test_a_point_of_another_curve_is_not_proved():
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    compressed = other.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    made = attested(FakeHsm().make("any"))
    pair = statement.parsed(made.statement)
    assert len(pair.public.attributes[statement.PUBLIC_POINT]) == 65
    version = f"{RING}/cryptoKeys/p/cryptoKeyVersions/1"
    content = ATTESTATIONS.statement(Pair(point, version, curve=415))
    unproven(compressed, changed(made, statement=content, key_version=version), "curve")


@pytest.mark.parametrize("at", [0, 5, 20, 40, 100, 300, -257, -1])
def test_every_change_of_the_statement_is_noticed(key, at):
    proof = attested(key)
    data = bytearray(gzip.decompress(proof.statement))
    data[at] ^= 1
    with pytest.raises(UnprovenError):
        check(key, changed(proof, statement=gzip.compress(bytes(data))))


def test_a_statement_without_its_certificates_or_with_those_of_another_card_is_not_proved(key):
    proof = attested(key)
    pem = proof.certificates.decode().split("-----BEGIN")
    certificates = [f"-----BEGIN{each}" for each in pem if each.strip()]
    assert len(certificates) == 4
    for index in range(4):
        left = "".join(certificates[:index] + certificates[index + 1 :]).encode()
        unproven(key, changed(proof, certificates=left), "no chain")
    makers, card, partition = Attestations().chains
    other = b"".join([*makers, *card, *partition])
    unproven(key, changed(proof, certificates=other), "signature is wrong")
    mixed = b"".join(makers) + "".join(certificates[2:]).encode()
    unproven(key, changed(proof, certificates=mixed), "no chain")
    unproven(key, changed(proof, certificates=b"nothing"), "certificates")
    unproven(key, changed(proof, certificates=proof.certificates * 4), "too many")


def test_roots_in_the_bundle_and_any_order_do_no_harm(key):
    proof = attested(key)
    check(
        key,
        changed(
            proof, certificates=roots.OWNER + proof.certificates + roots.EMULATED_OWNER + roots.EMULATED_MANUFACTURER
        ),
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(bytes(300)),
        gzip.compress(bytes(10**6)),
        gzip.compress(struct.pack(">IIII", 0, 3, 400, 100) + bytes(500)),
        gzip.compress(struct.pack(">IIIIHHHH", 0, 3, 400, 108, 1, 3, 8, 50) + b"\xff" * 100 + bytes(256)),
    ],
)
def test_a_malformed_statement_is_refused_and_never_an_error(key, content):
    with pytest.raises(UnprovenError):
        check(key, changed(attested(key), statement=content))


def test_an_attribute_that_is_there_twice_is_refused():
    twice = struct.pack(">III", 1, 2, 0) + 2 * (struct.pack(">II", statement.CLASS, 1) + b"\3")
    with pytest.raises(UnprovenError, match="twice"):
        statement._object(twice)


def test_the_roots_built_in_are_those_that_google_and_the_maker_publish():
    makers, owners = (x509.load_pem_x509_certificates(each) for each in (roots.MANUFACTURER, roots.OWNER))
    assert "Cavium" in makers[0].subject.rfc4514_string()
    assert "Hawksbill Root v1 prod" in owners[0].subject.rfc4514_string()
    for each in (*makers, *owners):
        each.verify_directly_issued_by(each)


def test_roots_of_a_folder_take_the_place_of_those_built_in(key, tmp_path):
    (tmp_path / "manufacturer.pem").write_bytes(roots.EMULATED_MANUFACTURER)
    (tmp_path / "owner.pem").write_bytes(roots.EMULATED_OWNER)
    check(key, attested(key), given=AttestationRoots.found(tmp_path, is_production=True))
    (tmp_path / "owner.pem").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="PEM"):
        AttestationRoots.found(tmp_path, is_production=True)
    assert replace(POLICY, key_ring="").key_ring == ""
