"""Every setting may be given in a file: NAME_FILE stands for NAME, whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from keycast.settings.env import env, secret

CONTENT = "do-not-repeat-me"
READERS: dict[str, Callable[[str], Any]] = {
    "secret": secret,
    "str": lambda name: env.str(name, default=""),
    "list": lambda name: env.list(name, default=[]),
    "dict": lambda name: env.dict(name, default={}),
    "db_url": lambda name: env.db_url(name, default="sqlite://:memory:"),
    "email_url": lambda name: env.email_url(name, default="consolemail://"),
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "value"
    path.write_text(f"{CONTENT}\n")
    monkeypatch.setenv("A_SETTING_FILE", str(path))
    monkeypatch.delenv("A_SETTING", raising=False)
    return path


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_value_and_a_file_at_once_are_refused(
    read: Callable[[str], Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SETTING", CONTENT)
    with pytest.raises(ImproperlyConfigured, match="A_SETTING or A_SETTING_FILE, not both") as refused:
        read("A_SETTING")
    assert CONTENT not in str(refused.value)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "cannot be read: FileNotFoundError"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: IsADirectoryError"),
        (lambda path: path.write_bytes(CONTENT.encode() + b"\xff"), "cannot be read: UnicodeDecodeError"),
        (lambda path: path.write_text(" \n"), "is empty"),
    ],
    ids=["missing", "folder", "not UTF-8", "empty"],
)
def test_a_file_that_gives_no_value_is_refused_without_its_content(
    read: Callable[[str], Any], file: Path, spoil: Callable[[Path], Any], says: str
) -> None:
    spoil(file)
    with pytest.raises(ImproperlyConfigured, match=says) as refused:
        read("A_SETTING")
    assert CONTENT not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_newline_at_the_end_of_a_file_is_not_part_of_the_value(file: Path) -> None:
    assert secret("A_SETTING") == env.str("A_SETTING") == CONTENT
    file.write_text("postgres://keycast:word@db/keycast\n")
    assert env.db_url("A_SETTING")["NAME"] == "keycast"
    file.write_text("one,two\n")
    assert env.list("A_SETTING") == ["one", "two"]
    file.write_text("smtp+tls://u:word@mail.example:587\n")
    assert env.email_url("A_SETTING")["EMAIL_PORT"] == 587


def test_a_setting_whose_own_name_ends_with_file_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_CERTIFICATE_FILE", str(tmp_path / "ca.pem"))
    assert env.str("A_CERTIFICATE_FILE") == str(tmp_path / "ca.pem")


def test_without_either_the_default_holds_and_a_secret_without_one_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SETTING", raising=False)
    monkeypatch.delenv("A_SETTING_FILE", raising=False)
    assert env.str("A_SETTING", default="x") == secret("A_SETTING", "x") == "x"
    with pytest.raises(ImproperlyConfigured, match=r"A_SETTING \(or A_SETTING_FILE\) must be set"):
        secret("A_SETTING")
