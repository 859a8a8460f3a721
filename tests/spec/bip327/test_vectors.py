"""BIP-327's own vectors, as far as libsecp256k1's interface shows them.

It takes no aggregate nonce from outside, signs 32 bytes only and draws its own nonces, so those rows are left out. The
secret nonce of the vectors is put into the library's own form here, which no code of the product can do.
"""

from __future__ import annotations

import pytest

from keycast.crypto import musig
from keycast.crypto._secp256k1 import CONTEXT, ffi, lib
from keycast.crypto.errors import CryptoError
from keycast.crypto.points import parsed
from keycast.crypto.schnorr import Keypair, verify
from keycast.crypto.secret import SecretBytes
from tests.vectors import load, rows

FILE = "bip327.json"
MAGIC = bytes.fromhex("220edcf1")


def cases(part, kind):
    return rows(FILE, lambda table: table[part][kind], lambda row: row.get("comment", row.get("expected", ""))[:40])


def picked(table, name, indices):
    return [bytes.fromhex(table[name][index]) for index in indices]


def aggregated(table, row):
    """The cache of a row's keys, with its tweaks, and the public key (x-only)."""
    cache, whole = musig.aggregated([parsed(key) for key in picked(table, "pubkeys", row["key_indices"])]), None
    for tweak, xonly in zip(
        picked(table, "tweaks", row.get("tweak_indices", [])), row.get("is_xonly", []), strict=True
    ):
        add = lib.secp256k1_musig_pubkey_xonly_tweak_add if xonly else lib.secp256k1_musig_pubkey_ec_tweak_add
        if add(CONTEXT, ffi.NULL, cache, tweak) != 1:
            raise CryptoError("the tweak cannot be applied")
    whole = ffi.new("secp256k1_pubkey *")
    lib.secp256k1_musig_pubkey_get(CONTEXT, whole, cache)
    return cache, musig.serialised(whole)[1:]


def session_of(table, row, cache):
    nonces = [musig.parsed_nonce(nonce) for nonce in picked(table, "pnonces", row["nonce_indices"])]
    return nonces, musig.processed(nonces, bytes.fromhex(table["msg"]), cache)


def secret_nonce(table):
    raw = bytes.fromhex(table["secnonce"])
    nonce = ffi.new("secp256k1_musig_secnonce *")
    ffi.memmove(nonce, MAGIC + raw[:64] + bytes(ffi.buffer(parsed(raw[64:]))), 132)
    return nonce


def verifies(table, row, partial):
    cache, _ = aggregated(table, row)
    nonces, session = session_of(table, row, cache)
    signer = row["signer_index"]
    part = musig._parsed_partial(partial)
    key = parsed(bytes.fromhex(table["pubkeys"][row["key_indices"][signer]]))
    return part is not None and bool(
        lib.secp256k1_musig_partial_sig_verify(CONTEXT, part, nonces[signer], key, cache, session)
    )


@pytest.mark.compliance(spec="BIP-327", section="PartialSigVerify", requirement="wrong parts fail")
@pytest.mark.parametrize("row", cases("sign_verify", "verify_fail_test_cases"))
def test_a_wrong_part_does_not_verify(row):
    assert not verifies(load(FILE)["sign_verify"], row, bytes.fromhex(row["sig"]))


@pytest.mark.compliance(spec="BIP-327", section="PartialSigVerify", requirement="invalid contributions are refused")
@pytest.mark.parametrize("row", cases("sign_verify", "verify_error_test_cases"))
def test_an_invalid_contribution_is_refused(row):
    with pytest.raises(CryptoError):
        verifies(load(FILE)["sign_verify"], row, bytes.fromhex(row["sig"]))


@pytest.mark.compliance(spec="BIP-327", section="ApplyTweak", requirement="a tweak out of range is refused")
@pytest.mark.parametrize("row", cases("tweak", "error_test_cases"))
def test_a_tweak_out_of_range_is_refused(row):
    with pytest.raises(CryptoError):
        aggregated(load(FILE)["tweak"], row)


@pytest.mark.compliance(spec="BIP-327", section="PartialSigAgg", requirement="a part out of range is refused")
@pytest.mark.parametrize("row", cases("sig_agg", "error_test_cases"))
def test_a_part_out_of_range_is_refused(row):
    table = load(FILE)["sig_agg"]
    _, session = session_of(table, row, aggregated(table, row)[0])
    with pytest.raises(CryptoError):
        musig.summed(picked(table, "psigs", row["psig_indices"]), session)


@pytest.mark.compliance(spec="BIP-327", section="Sign", requirement="every row, with and without tweaks")
@pytest.mark.parametrize(
    ("part", "row"),
    [
        pytest.param(part, *case.values, id=f"{part} {case.id}", marks=case.marks)
        for part in ("sign_verify", "tweak")
        for case in cases(part, "valid_test_cases")
    ],
)
def test_the_partial_signature_is_reproduced(part, row):
    table = load(FILE)[part]
    cache, _ = aggregated(table, row)
    _, session = session_of(table, row, cache)
    half = Keypair.from_secret(SecretBytes(bytes.fromhex(table["sk"])))
    made = musig.sign_with(secret_nonce(table), half, cache, session)
    assert made.hex().upper() == row["expected"]
    assert verifies(table, row, made)


@pytest.mark.compliance(spec="BIP-327", section="PartialSigAgg", requirement="every row, verified under BIP-340")
@pytest.mark.parametrize("row", cases("sig_agg", "valid_test_cases"))
def test_the_parts_make_the_signature(row):
    table = load(FILE)["sig_agg"]
    cache, public_key = aggregated(table, row)
    _, session = session_of(table, row, cache)
    signature = musig.summed(picked(table, "psigs", row["psig_indices"]), session)
    assert signature.hex().upper() == row["expected"]
    assert verify(public_key, bytes.fromhex(table["msg"]), signature)
