"""BIP-340's own test vectors: every row verifies or not as its table says, and every 32-byte row is reproduced."""

from __future__ import annotations

import pytest

from keycast.crypto import schnorr
from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.schnorr import Keypair, is_public_key, verify
from keycast.crypto.secret import SecretBytes
from tests.vectors import rows

FILE = "bip340-test-vectors.csv"


def label(row):
    return f"{row['index']} {row['comment']}"


def secret_key_rows(table):
    return [row for row in table if row["secret key"]]


def digest_rows(table):
    return [row for row in secret_key_rows(table) if len(row["message"]) == 64]


@pytest.mark.compliance(spec="BIP-340", section="Verification", requirement="every row of the test vectors")
@pytest.mark.parametrize("row", rows(FILE, lambda table: table, label))
def test_a_signature_verifies_as_the_table_says(row):
    public_key, message = bytes.fromhex(row["public key"]), bytes.fromhex(row["message"])
    expected = row["verification result"] == "TRUE"
    assert verify(public_key, message, bytes.fromhex(row["signature"])) is expected


@pytest.mark.compliance(spec="BIP-340", section="Verification", requirement="lift_x fails for x not on the curve")
@pytest.mark.parametrize("row", rows(FILE, lambda table: table, label))
def test_a_key_off_the_curve_is_no_public_key(row):
    off_curve = "not on the curve" in row["comment"] or "exceeds the field size" in row["comment"]
    off_curve = off_curve and "public key" in row["comment"].lower()
    assert is_public_key(bytes.fromhex(row["public key"])) is not off_curve


@pytest.mark.compliance(spec="BIP-340", section="Default Signing", requirement="public key of every secret key")
@pytest.mark.parametrize("row", rows(FILE, secret_key_rows, label))
def test_the_public_key_is_derived(row):
    keypair = Keypair.from_secret(SecretBytes(bytes.fromhex(row["secret key"])))
    assert keypair.public_key.hex() == row["public key"].lower()


@pytest.mark.compliance(spec="BIP-340", section="Default Signing", requirement="signature with the given randomness")
@pytest.mark.parametrize("row", rows(FILE, secret_key_rows, label))
def test_the_signature_is_reproduced_with_the_given_randomness(row):
    """Of any message length, though the product itself signs nothing but 32-byte ids."""
    keypair = Keypair.from_secret(SecretBytes(bytes.fromhex(row["secret key"])))
    message, output = bytes.fromhex(row["message"]), ffi.new("unsigned char[64]")
    parameters = ffi.new("secp256k1_schnorrsig_extraparams *")
    parameters.magic = bytes.fromhex("da6fb38c")
    randomness = ffi.from_buffer(bytes.fromhex(row["aux_rand"]))
    parameters.ndata = randomness
    made = lib.secp256k1_schnorrsig_sign_custom(CONTEXT, output, message, len(message), keypair._keypair, parameters)
    assert made == 1
    assert bytes(ffi.buffer(output)).hex() == row["signature"].lower()


@pytest.mark.compliance(spec="BIP-340", section="Default Signing", requirement="own signatures use fresh randomness")
@pytest.mark.parametrize("row", rows(FILE, digest_rows, label))
def test_our_own_signature_is_randomised_and_verifies(row):
    keypair = Keypair.from_secret(SecretBytes(bytes.fromhex(row["secret key"])))
    message = bytes.fromhex(row["message"])
    signature = keypair.sign(message)
    assert signature.hex() != row["signature"].lower()
    assert verify(keypair.public_key, message, signature)
    schnorr._parsed.cache_clear()
    assert verify(keypair.public_key, message, signature)
