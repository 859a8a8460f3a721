"""The demo's folder: what is secret there, and that a second start keeps it."""

from __future__ import annotations

import shlex
import socket

import environ

from keycast.demo.environment import HONOURED, DemoEnvironment, free_port, write_private


def test_a_taken_port_is_not_taken_twice():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_port(taken) != taken


def test_settings_of_the_shell_do_not_leak_in(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://production/keys")
    monkeypatch.setenv("KEYCAST_KEK", "1:secret")
    monkeypatch.setenv("KEYCAST_TRUSTED_PROXIES", "3")
    environment = DemoEnvironment.prepare(tmp_path / "var", 8000).environment()
    assert environment["DATABASE_URL"] == f"sqlite:///{tmp_path / 'var' / 'keycast.sqlite3'}"
    assert not {"KEYCAST_KEK", "KEYCAST_TRUSTED_PROXIES"} & set(environment)


def test_the_secrets_are_the_owners_alone(tmp_path):
    DemoEnvironment.prepare(tmp_path / "var", 8000)
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "var" / "demo.env").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_replaced_by_one_that_they_cannot(tmp_path):
    path = tmp_path / "demo.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_private(path, "{}")
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_shown(tmp_path):
    prepared = DemoEnvironment.prepare(tmp_path, 8000)
    assert not any(secret in repr(prepared) for secret in prepared.secrets.values())


def test_a_second_start_keeps_the_secrets_and_may_change_the_port(tmp_path):
    folder = tmp_path / "a folder"
    first = DemoEnvironment.prepare(folder, 8000)
    second = DemoEnvironment.prepare(folder, 8001)
    assert first.secrets == second.secrets
    words = shlex.split((folder / "demo.env").read_text(), comments=True)
    assert "KEYCAST_PUBLIC_PORT=8001" in words
    assert f"KEYCAST_DATA_DIR={folder}" in words


def test_what_may_be_chosen_in_the_shell_reaches_every_process_of_the_demo(tmp_path, monkeypatch):
    chosen = {"KEYCAST_KMS_EMULATOR_PORT": "18765", "KEYCAST_RELAY_ALLOW_PRIVATE": "127.0.0.1"}
    assert set(chosen) <= set(HONOURED)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    prepared = DemoEnvironment.prepare(tmp_path / "var", 8000, has_hsm=True)
    assert chosen.items() <= prepared.environment().items()
    assert all(f"{name}={value}" in (tmp_path / "var" / "demo.env").read_text() for name, value in chosen.items())


def test_mails_go_into_the_folder_and_not_onto_the_screen(tmp_path):
    prepared = DemoEnvironment.prepare(tmp_path / "a folder #1", 8000)
    config = environ.Env.email_url_config(prepared.environment()["EMAIL_URL"])
    assert config["EMAIL_BACKEND"] == "django.core.mail.backends.filebased.EmailBackend"
    assert config["EMAIL_FILE_PATH"] == str(tmp_path / "a folder #1" / "mails")
