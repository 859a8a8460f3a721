"""XChaCha20-Poly1305 against the vectors of draft-irtf-cfrg-xchacha-03, 2.2.1 and A.3.1."""

from __future__ import annotations

import pytest

from keycast.crypto.errors import AeadError, CryptoError
from keycast.crypto.secret import SecretBytes
from keycast.crypto.xchacha import hchacha20, open_into, seal

KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
AAD = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
PLAINTEXT = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
SEALED = bytes.fromhex(
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
    "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52e"
    "c0875924c1c7987947deafd8780acf49"
)


@pytest.mark.parametrize("position", range(0, len(SEALED), 7))
def test_an_altered_text_does_not_open(position):
    altered = bytearray(SEALED)
    altered[position] ^= 0x80
    with pytest.raises(AeadError):
        open_into(SecretBytes(KEY), NONCE, bytes(altered), AAD)


def test_other_associated_data_nonce_or_length_does_not_open():
    for nonce, sealed, aad in [
        (NONCE, SEALED, b""),
        (NONCE[::-1], SEALED, AAD),
        (NONCE[:-1], SEALED, AAD),
        (NONCE, SEALED[:15], AAD),
    ]:
        with pytest.raises(AeadError):
            open_into(SecretBytes(KEY), nonce, sealed, aad)


def test_nonces_of_another_length_are_refused():
    with pytest.raises(CryptoError):
        hchacha20(SecretBytes(KEY), bytes(12))
    with pytest.raises(CryptoError):
        seal(SecretBytes(KEY), bytes(12), SecretBytes(PLAINTEXT), AAD)


@pytest.mark.compliance(spec="XChaCha20", section="2.2.1", requirement="HChaCha20 gives the draft's subkey")
def test_hchacha20_gives_the_subkey_of_the_draft():
    subkey = hchacha20(SecretBytes(bytes(range(32))), bytes.fromhex("000000090000004a0000000031415927"))
    assert bytes(subkey.view()).hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


@pytest.mark.compliance(spec="XChaCha20", section="A.3.1", requirement="the AEAD gives the draft's ciphertext and tag")
def test_the_aead_gives_the_text_of_the_draft():
    assert seal(SecretBytes(KEY), NONCE, SecretBytes(PLAINTEXT), AAD) == SEALED
    assert open_into(SecretBytes(KEY), NONCE, SEALED, AAD) == SecretBytes(PLAINTEXT)
