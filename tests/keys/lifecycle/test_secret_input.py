"""A secret key as people give it: refused without an echo, bounded in cost, never a published one (threats F7, K14)."""

from __future__ import annotations

import hashlib
import os
import threading
from uuid import uuid4

import pytest

from keycast.audit.entries import Actor
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import bech32, nip19, nip49
from keys import selectors, services
from keys.errors import (
    KeyExists,
    NoCapability,
    PasswordRefused,
    PublishedKeyRefused,
    ScryptTooCostly,
    SecretRefused,
    TooBusy,
)
from keys.lifecycle import published, secret_input
from keys.services import parse_secret_input, parse_typed_secret
from tests import vectors
from tests.keys.conftest import make_tenant, make_user

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GOOD = "6b6a5e3f9a0c4cd8a9a1d0d0f2c7f8d1b5e49f1c3a7e2d4b8c6f0a1928374655"


NSEC = nip19.encode_nsec(SecretBytes(bytes.fromhex(GOOD)))
REFUSED = [
    "",
    " ",
    "nsec1",
    GOOD[:-1],
    GOOD + "0",
    GOOD[:-1] + "g",
    GOOD[:32] + " " + GOOD[32:],
    GOOD[:-1] + "٣",
    "0x" + GOOD,
    "00" * 32,
    f"{N:064x}",
    f"{N + 1:064x}",
    "ff" * 32,
    nip19.encode_npub(Keypair.generate()[0].public_key_hex),
    nip19.encode_nsec(SecretBytes(bytes.fromhex(GOOD)))[:-1] + "q",
    nip19.encode_nsec(SecretBytes(bytes.fromhex(GOOD))).replace("nsec1", "nsec1Q"),
    bech32.encode("nsec", bytes(31)),
    bech32.encode("nsec", bytes(33)),
    "ncryptsec1",
    "ncryptsec1" + "q" * 150,
    "x" * 100_000,
    "\ud800" * 64,
]


@pytest.fixture
def production(settings):
    settings.DEBUG, settings.ENVIRONMENT = False, "production"


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_secret_key_is_refused_without_an_echo(text):
    with pytest.raises(SecretRefused) as caught:
        parse_secret_input(text, "password")
    assert text[:40] in {"", " ", "nsec1", "ncryptsec1"} or text[-12:] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text", [GOOD, GOOD.upper(), f"  {GOOD}\n", nip19.encode_nsec(SecretBytes.adopt(bytearray.fromhex(GOOD)))]
)
def test_hex_and_nsec_are_understood(text):
    assert parse_secret_input(text) == SecretBytes(bytes.fromhex(GOOD))


class TestTyped:
    """What came in buffers: the same answers, and no text."""

    def parsed(self, text, password=None):
        typed = SecretBytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        said = SecretBytes(password.encode()) if password is not None else None
        return parse_typed_secret(typed, said, person=uuid4())

    @pytest.mark.parametrize("text", REFUSED)
    def test_what_is_no_secret_key_is_refused(self, text):
        with pytest.raises(SecretRefused):
            self.parsed(text)

    @pytest.mark.parametrize("text", [b"\xff" * 64, b"nsec1\xff", NSEC[:20] + NSEC[20:].upper()])
    def test_what_is_no_text_or_of_mixed_case_is_refused(self, text):
        with pytest.raises(SecretRefused):
            self.parsed(text)

    @pytest.mark.parametrize("text", [GOOD, GOOD.upper(), f"  {GOOD}\r\n", NSEC, NSEC.upper(), f" {NSEC}\t"])
    def test_hex_and_nsec_are_understood_without_a_text(self, text, monkeypatch):
        monkeypatch.setattr(secret_input, "_text", lambda _: pytest.fail("a text was made"))
        assert self.parsed(text) == SecretBytes(bytes.fromhex(GOOD))

    @pytest.mark.django_db
    def test_an_ncryptsec_needs_its_password(self):
        sealed = nip49.encrypt(SecretBytes(bytes.fromhex(GOOD)), "password", log_n=4)
        with pytest.raises(PasswordRefused):
            self.parsed(sealed)
        with pytest.raises(PasswordRefused):
            self.parsed(sealed, "")
        assert self.parsed(sealed, "password") == SecretBytes(bytes.fromhex(GOOD))

    def test_the_fields_stay_the_callers(self):
        typed = SecretBytes(GOOD.encode())
        parse_typed_secret(typed, None, person=uuid4()).wipe()
        assert bytes(typed.view()) == GOOD.encode()


def costly(log_n):
    data = bytes([2, log_n]) + os.urandom(16) + os.urandom(24) + b"\x02" + os.urandom(48)
    return bech32.encode("ncryptsec", data)


@pytest.mark.parametrize("log_n", [0, 21, 22, 63, 64, 255])
def test_a_costly_ncryptsec_is_refused_before_any_work(log_n, monkeypatch):
    monkeypatch.setattr(nip49, "_derived", lambda *_: pytest.fail("scrypt was started"))
    with pytest.raises(ScryptTooCostly):
        parse_secret_input(costly(log_n), "password")


def test_the_cap_is_a_setting(settings):
    settings.NIP49_MAX_LOG_N = 10
    sealed = nip49.encrypt(SecretBytes(bytes.fromhex(GOOD)), "password", log_n=11)
    with pytest.raises(ScryptTooCostly):
        parse_secret_input(sealed, "password")
    settings.NIP49_MAX_LOG_N = 11
    assert parse_secret_input(sealed, "password") == SecretBytes(bytes.fromhex(GOOD))


@pytest.mark.parametrize("password", [None, "", "wrong", "Password", "x" * 2000])
def test_an_ncryptsec_without_its_password_is_refused(password):
    sealed = nip49.encrypt(SecretBytes(bytes.fromhex(GOOD)), "password", log_n=4)
    with pytest.raises(SecretRefused) as caught:
        parse_secret_input(sealed, password)
    assert password is None or len(password) > 1024 or isinstance(caught.value, PasswordRefused)


def test_only_one_costly_key_is_opened_at_a_time(monkeypatch):
    monkeypatch.setattr(nip49, "_WAIT_SECONDS", 0.05)
    sealed = nip49.encrypt(SecretBytes(bytes.fromhex(GOOD)), "password", log_n=4)
    with nip49._one_at_a_time, pytest.raises(TooBusy):
        parse_secret_input(sealed, "password")
    assert parse_secret_input(sealed, "password")


def test_a_secret_is_wiped_when_its_key_is_refused(production, monkeypatch):
    made = []
    real = nip19.decode_nsec
    monkeypatch.setattr(nip19, "decode_nsec", lambda text: made.append(real(text)) or made[-1])
    with pytest.raises(PublishedKeyRefused):
        parse_secret_input(nip19.encode_nsec(SecretBytes(hashlib.sha256(b"ncb-test:user").digest())))
    assert made[0].is_wiped


class TestPublishedKeys:
    def secrets_in_vectors(self):
        """Every text of 64 hex digits that any corpus calls a secret key."""
        found = set()

        def look(item, path):
            if isinstance(item, dict):
                for name, value in item.items():
                    look(value, f"{path}/{name}")
            elif isinstance(item, list):
                for value in item:
                    look(value, path)
            elif isinstance(item, str) and len(item) == 64 and any(word in path for word in ("sec", "private_key")):
                found.add(item.lower())

        for name in (
            "nip01_events.json",
            "nip19_nip06.json",
            "nip44.vectors.json",
            "nip44_extra.json",
            "nip46_flow.json",
            "nip46_hostile.json",
            "nip49.json",
        ):
            look(vectors.load_or_skip(name), name)
        return found

    def test_every_secret_key_of_the_test_vectors_is_refused_in_production(self, production):
        candidates = self.secrets_in_vectors()
        assert len(candidates) > 60
        accepted = []
        for text in candidates:
            try:
                parse_secret_input(text)
                accepted.append(text)
            except SecretRefused:
                pass
        assert accepted == []

    @pytest.mark.parametrize("number", [1, 2, 3, 7, 100, N - 1, N - 100, int("01" * 32, 16), int("ab" * 32, 16)])
    def test_numbers_anybody_would_try_are_refused(self, production, number):
        with pytest.raises(PublishedKeyRefused):
            parse_secret_input(f"{number:064x}")

    @pytest.mark.parametrize("name", ["user", "signer", "client", "stranger", "alice"])
    def test_the_family_of_this_projects_test_keys_is_refused(self, production, name):
        with pytest.raises(PublishedKeyRefused):
            parse_secret_input(hashlib.sha256(f"ncb-test:{name}".encode()).hexdigest())

    def test_import_refuses_it_whatever_way_the_secret_came(self, user, tenant, production):
        secret = SecretBytes(hashlib.sha256(b"ncb-test:user").digest())
        with pytest.raises(PublishedKeyRefused):
            services.import_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", secret=secret)

    def test_published_secret_keys_are_accepted_outside_production_and_with_debug(self, settings):
        assert parse_secret_input(f"{1:064x}")
        settings.ENVIRONMENT, settings.DEBUG = "production", True
        assert parse_secret_input(f"{1:064x}")

    def test_a_random_key_is_not_on_the_list(self, production):
        for _ in range(50):
            assert not published.is_published(Keypair.generate()[0].public_key_hex)
        assert parse_secret_input(GOOD)

    def test_the_list_holds_hashes_only(self):
        text = published._LIST.read_text()
        assert all(len(line) == 32 for line in text.split())
        assert "79be667ef9dcbbac55a06295ce870b07" not in text


class TestImport:
    def add(self, user, tenant, **options):
        secret = parse_secret_input(GOOD)
        return services.import_key(
            actor=Actor.user(user), tenant=tenant, user=user, name="Old", secret=secret, **options
        )

    def test_a_known_key_is_refused_in_the_same_words_wherever_it_is(self, user, tenant):
        self.add(user, tenant)
        other = make_tenant()
        texts = set()
        for person, place in [(user, tenant), (make_user(tenant), tenant), (make_user(other), other)]:
            with pytest.raises(KeyExists) as caught:
                self.add(person, place)
            texts.add((caught.value.code, str(caught.value)))
        assert len(texts) == 1

    @pytest.mark.opens_keys
    def test_a_transport_key_is_not_imported_as_a_personal_one(self, user, tenant, key):
        from keys.signing import transport
        from keys.signing.kms import registry
        from keys.signing.vault import unlock

        ref = selectors.transport_ref(selectors.transport_of(key))
        secret = unlock(ref.sealed, transport.sealing_context_of(ref), registry.provider("local")).secret()
        with pytest.raises(KeyExists):
            services.import_key(actor=Actor.user(user), tenant=tenant, user=user, name="x", secret=secret)

    def test_a_mode_without_imports_says_so(self, user, tenant, monkeypatch):
        from keys.lifecycle import modes

        backend = modes.EncryptedBackend()
        monkeypatch.setattr(modes.EncryptedBackend, "capabilities", modes._NO_HSM)
        monkeypatch.setattr(modes, "_backends", [backend])
        with pytest.raises(NoCapability):
            self.add(user, tenant)

    @pytest.mark.parametrize("size", [0, 31, 33, 64])
    def test_a_secret_of_another_length_is_refused(self, user, tenant, size):
        with pytest.raises(SecretRefused):
            services.import_key(
                actor=Actor.user(user), tenant=tenant, user=user, name="x", secret=SecretBytes.random(size)
            )

    def test_an_imported_key_is_that_key_and_the_secret_stays_the_callers(self, user, tenant):
        secret = parse_secret_input(GOOD)
        key = services.import_key(actor=Actor.user(user), tenant=tenant, user=user, name="Old", secret=secret)
        assert key.is_imported
        assert key.public_key == Keypair.from_secret(secret).public_key_hex
        assert not secret.is_wiped

    def test_concurrent_imports_of_one_secret_store_one_key(self, transactional_db):
        from django.db import connection

        tenant = make_tenant()
        people = [make_user(tenant) for _ in range(4)]
        outcomes = []

        def work(person):
            try:
                self.add(person, tenant)
                outcomes.append("added")
            except KeyExists:
                outcomes.append("exists")
            finally:
                connection.close()

        threads = [threading.Thread(target=work, args=(person,)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["added", "exists", "exists", "exists"]
