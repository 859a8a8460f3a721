"""Memory and time that strangers and members can make passwords take: bounded in number, size and by the hour (F7)."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.cache import cache
from pytest_django import Settings

from accounts.errors import TooManySignIns
from accounts.signin import hashers
from keycast.crypto.secret import SecretBytes
from keycast.nostr import bech32, nip49
from keycast.nostr.nip49 import Nip49Error
from keys.errors import PasswordRefused, ScryptTooCostly, SecretRefused, TooBusy, TooManyEncryptedKeys
from keys.lifecycle import password_child
from keys.services import parse_secret_input, parse_secret_of_person

SECRET = bytes.fromhex("5ee1c8000ab28edd64d74a7d951ac2dd559814887b1b9e1ac7c5f89e96125c12")
MIB = 1024 * 1024


def sealed(log_n: int = 4) -> str:
    return nip49.encrypt(SecretBytes(SECRET), "password", log_n=log_n)


def costly(log_n: int) -> str:
    data = bytes([2, log_n]) + os.urandom(16) + os.urandom(24) + b"\x02" + os.urandom(48)
    return bech32.encode("ncryptsec", data)


@pytest.fixture(autouse=True)
def _fresh(db: None) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What children were asked; they run all the same."""
    asked: list[bytes] = []
    ask = password_child._ask

    def noted(line: bytes) -> bytes:
        asked.append(line)
        return ask(line)

    monkeypatch.setattr(password_child, "_ask", noted)
    return asked


@pytest.mark.parametrize("log_n", [0, 19, 20, 63, 255])
def test_a_page_opens_no_key_above_its_cost_and_counts_none_of_them(log_n: int, started: list[bytes]) -> None:
    person = uuid4()
    for _ in range(5):
        with pytest.raises(ScryptTooCostly):
            parse_secret_of_person(costly(log_n), "password", person=person)
    assert started == []
    assert parse_secret_of_person(sealed(), "password", person=person) == SecretBytes(SECRET)


def test_a_person_opens_three_an_hour_with_wrong_passwords_too_and_others_go_on(
    started: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    person = uuid4()
    for password in ("wrong", "wrong", "password"):
        try:
            parse_secret_of_person(sealed(), password, person=person)
        except PasswordRefused:
            assert password == "wrong"
    with pytest.raises(TooManyEncryptedKeys):
        parse_secret_of_person(sealed(), "password", person=person)
    assert len(started) == 3
    assert parse_secret_of_person(sealed(), "password", person=uuid4())
    assert parse_secret_of_person(SECRET.hex(), None, person=person), "what is not encrypted costs nothing"


def test_what_is_malformed_or_has_no_password_takes_no_turn(started: list[bytes]) -> None:
    person, whole = uuid4(), sealed()
    mistyped = whole[:-1] + ("p" if whole.endswith("q") else "q")
    for text, password in ((mistyped, "password"), (sealed(), ""), (sealed(), None), ("ncryptsec1", "x")):
        with pytest.raises(SecretRefused):
            parse_secret_of_person(text, password, person=person)
    assert started == []
    assert parse_secret_of_person(sealed(), "password", person=person)


def test_the_memory_is_taken_in_another_process() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert password_child.decrypt_apart(sealed(16), "password", 18) == SecretBytes(SECRET)  # 64 MiB
    with pytest.raises(Nip49Error, match="wrong-password"):
        password_child.decrypt_apart(costly(18), "password", 18)  # 256 MiB
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 128 * MIB  # of which 64 were taken by sealing


def test_a_child_that_would_take_more_than_its_limit_ends_without_a_key() -> None:
    text = sealed(14)
    assert password_child.decrypt_apart(text, "password", 14) == SecretBytes(SECRET)
    with pytest.raises(Nip49Error, match="too-costly"):
        password_child.decrypt_apart(text, "password", 14, memory=4 * MIB)


def test_a_child_gets_no_secret_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def run(command: list[str], **kwargs: Any) -> Any:
        given.update(kwargs, command=command)
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Nip49Error, match="too-costly"):
        password_child.decrypt_apart(sealed(), "a password of theirs", 18)
    assert given["env"] == {}
    assert "a password of theirs" not in " ".join(given["command"])


def test_one_child_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_child, "WAIT_SECONDS", 0.01)
    with password_child._one_at_a_time, pytest.raises(TooBusy):
        parse_secret_of_person(sealed(), "password", person=uuid4())


def test_commands_may_open_dearer_ones(settings: Settings) -> None:
    settings.NIP49_WEB_LOG_N = 3
    with pytest.raises(ScryptTooCostly):
        parse_secret_of_person(sealed(), "password", person=uuid4())
    assert parse_secret_input(sealed(), "password") == SecretBytes(SECRET)


def test_only_so_many_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-nine sign-ins at once, as many threads: never more than the places are inside."""
    inside, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def hashed(self: Argon2PasswordHasher, password: str, *_: str) -> bool:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 2:
                full.set()
        full.wait(60)
        with lock:
            inside -= 1
        return True

    monkeypatch.setattr(hashers, "WAIT_SECONDS", 60)
    monkeypatch.setattr(Argon2PasswordHasher, "verify", hashed)
    threads = [
        threading.Thread(target=hashers.BoundedArgon2Hasher().verify, args=("password", "encoded")) for _ in range(29)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (2, 0)


def test_who_waits_too_long_for_a_place_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashers, "WAIT_SECONDS", 0.01)
    hasher = hashers.BoundedArgon2Hasher()
    with hashers.place(), hashers.place():
        for call in (lambda: hasher.encode("password", "saltsaltsalt"), lambda: hasher.verify("password", "x")):
            with pytest.raises(TooManySignIns):
                call()
    encoded = hasher.encode("password", "saltsaltsalt")
    assert hasher.verify("password", encoded)
    assert not hasher.verify("Password", encoded)


def test_production_hashes_with_bounds() -> None:
    import keycast.settings

    assert keycast.settings.PASSWORD_HASHERS[0] == "accounts.signin.hashers.BoundedArgon2Hasher"
