"""NIP-49: keys under a password, and what is refused before any memory is spent on it."""

from __future__ import annotations

import threading
import unicodedata

import pytest

from keycast.crypto.errors import CryptoError
from keycast.crypto.secret import SecretBytes
from keycast.nostr import bech32, nip49
from keycast.nostr.nip49 import Nip49Error, decrypt, encrypt
from tests.vectors import load_or_skip, rows

FILE = "nip49.json"
SPEC = "NIP-49"
PASSWORD = "a password of ours"


@pytest.fixture
def no_scrypt(monkeypatch):
    monkeypatch.setattr(nip49, "Scrypt", lambda *_, **__: pytest.fail("scrypt ran"))


def code_of(text, password=PASSWORD, **options):
    with pytest.raises(Nip49Error) as refusal:
        decrypt(text, password, **options)
    assert password not in str(refusal.value)
    return refusal.value.code


def made(version=2, log_n=1, size=91):
    return bech32.encode("ncryptsec", bytes([version, log_n]) + bytes(size - 2))


@pytest.mark.compliance(spec=SPEC, section="Symmetric Encryption Key derivation", requirement="cost bounded first")
@pytest.mark.usefixtures("no_scrypt")
def test_a_cost_above_the_cap_is_refused_before_it_is_paid():
    for log_n in (0, nip49.MAX_LOG_N + 1, 63, 64, 255):
        assert code_of(made(log_n=log_n)) == "too-costly"
    assert code_of(made(log_n=10), max_log_n=9) == "too-costly"


@pytest.mark.usefixtures("no_scrypt")
def test_a_text_of_another_form_is_refused_before_scrypt():
    good = made()
    flipped = good[:20] + ("q" if good[20] != "q" else "p") + good[21:]
    mixed = good[:20] + good[20:].upper()
    broken = [made(version=1), made(version=0), made(size=90), made(size=92), flipped, mixed, good[:-1], good + "q", ""]
    broken += [" " + good, good + "\n", good.replace("ncryptsec", "nsec"), "ncryptsec1", "x" * 6000, bech32m(good)]
    for text in broken:
        assert code_of(text) == "malformed"


def bech32m(text):
    """The same data with the checksum constant of BIP-350."""
    data = bytes(bech32.decode("ncryptsec", text))
    original = bech32._polymod
    bech32._polymod = lambda values: original(values) ^ 1 ^ 0x2BC830A3
    try:
        return bech32.encode("ncryptsec", data)
    finally:
        bech32._polymod = original


@pytest.mark.compliance(spec=SPEC, section="Decryption", requirement="a wrong password is an error with constant text")
def test_a_wrong_password_or_an_altered_field_is_one_error():
    secret = SecretBytes.random(32)
    text = encrypt(secret, PASSWORD, log_n=2)
    assert code_of(text, "another") == "wrong-password"
    data = bytearray(bech32.decode("ncryptsec", text))
    for position in (2, 18, 42, 43, 90):
        changed = bytearray(data)
        changed[position] ^= 1
        assert code_of(bech32.encode("ncryptsec", changed)) == "wrong-password"


def test_passwords_that_cannot_be_are_refused():
    secret = SecretBytes.random(32)
    for password in ("\ud800", "x" * (nip49.MAX_PASSWORD + 1)):
        with pytest.raises(Nip49Error):
            encrypt(secret, password, log_n=1)


def test_what_cannot_be_encrypted_is_refused():
    secret = SecretBytes.random(32)
    for log_n in (0, nip49.MAX_LOG_N + 1, 255):
        with pytest.raises(Nip49Error):
            encrypt(secret, PASSWORD, log_n=log_n)
    with pytest.raises(CryptoError):
        encrypt(SecretBytes.zero(31), PASSWORD, log_n=1)
    with pytest.raises(CryptoError):
        encrypt(secret, PASSWORD, log_n=1, key_security=3)


def test_only_one_key_is_derived_at_a_time(monkeypatch):
    monkeypatch.setattr(nip49, "_WAIT_SECONDS", 0.05)
    text = encrypt(SecretBytes.random(32), PASSWORD, log_n=1)
    assert nip49._one_at_a_time.acquire()
    codes = []
    thread = threading.Thread(target=lambda: codes.append(code_of(text)))
    thread.start()
    thread.join()
    nip49._one_at_a_time.release()
    assert codes == ["busy"]
    assert decrypt(text, PASSWORD)


def test_running_out_of_memory_is_an_error_and_frees_the_turn(monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    text = encrypt(SecretBytes.random(32), PASSWORD, log_n=1)
    with monkeypatch.context() as patch:
        patch.setattr(nip49, "Scrypt", exhausted)
        assert code_of(text) == "too-costly"
    assert decrypt(text, PASSWORD)


@pytest.mark.compliance(spec=SPEC, section="Decryption", requirement="every published ncryptsec opens")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["decrypt"], lambda row: row["ncryptsec"][10:30]))
def test_a_published_text_opens(row):
    secret = decrypt(row["ncryptsec"], row["password"])
    assert secret == SecretBytes(bytes.fromhex(row["secret"]))
    assert bech32.decode("ncryptsec", row["ncryptsec"])[1] == row["log_n"]


@pytest.mark.compliance(spec=SPEC, section="Password Unicode Normalization", requirement="NFKC")
def test_a_password_is_normalised():
    row = load_or_skip(FILE)["nfkc"]
    typed, normal = (bytes.fromhex(row[name]).decode() for name in ("input_hex", "normalised_hex"))
    assert unicodedata.normalize("NFKC", typed) == normal
    secret = SecretBytes.random(32)
    assert decrypt(encrypt(secret, typed, log_n=1), normal) == secret
    assert decrypt(encrypt(secret, normal, log_n=1), typed) == secret


def test_what_was_encrypted_opens_and_differs_each_time():
    secret = SecretBytes.random(32)
    texts = {encrypt(secret, PASSWORD, log_n=1) for _ in range(3)}
    assert len(texts) == 3
    for text in texts:
        assert decrypt(text, PASSWORD) == secret
        assert decrypt(text.upper(), PASSWORD) == secret
