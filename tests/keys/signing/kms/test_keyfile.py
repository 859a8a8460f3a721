"""The file of local key-encryption keys: refused loudly, without its content."""

from __future__ import annotations

import base64
import os

import pytest

from keys.errors import KekUnavailable
from keys.signing.kms import keyfile


def line(version="1", key=None):
    return f"{version}:{base64.b64encode(key or os.urandom(32)).decode()}"


SAME = os.urandom(32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\n# only a comment\n",
        "1",
        "1:",
        ":" + line()[2:],
        line("1") + "\nnonsense",
        line("1")[:-1],
        line("1") + "=",
        line("1").replace("1:", "1 :", 1),
        "1:" + base64.b64encode(os.urandom(31)).decode(),
        "1:" + base64.b64encode(os.urandom(33)).decode(),
        "1:" + base64.b64encode(os.urandom(16)).decode(),
        "1:" + os.urandom(32).hex(),
        "1:" + base64.b64encode(bytes(32)).decode(),
        "1:" + base64.b64encode(b"abcd" * 8).decode(),
        line("1") + "\n" + line("1"),
        line("1", SAME) + "\n" + line("2", SAME),
        line("v" * 65),
        line("-1"),
        line("ä"),
        "1:" + base64.b64encode(b"\xff" * 32).decode().replace("/", "_"),
    ],
)
def test_parsing_a_malformed_key_file_is_refused(text):
    with pytest.raises(KekUnavailable):
        keyfile.parse(text.encode())


def test_a_refusal_never_repeats_the_content():
    secret = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(KekUnavailable) as caught:
        keyfile.parse(f"1:{secret}\n2:{secret}x".encode())
    assert secret[:8] not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert "2" in str(caught.value)


def test_noncanonical_base64_is_refused():
    text = line("1", bytes(range(32)))
    assert text.endswith("8=")
    with pytest.raises(KekUnavailable):
        keyfile.parse((text[:-2] + "9=").encode())


def test_it_reads_versions_in_their_order_and_skips_comments():
    text = f"# keys\n{line('2026-01')}\r\n\n  {line('2026-02')}  \n{line('a')}"
    assert list(keyfile.parse(text.encode())) == ["2026-01", "2026-02", "a"]


def test_one_line_of_the_environment_may_hold_several():
    assert list(keyfile.parse(f"{line('1')} {line('2')}".encode())) == ["1", "2"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_strict_mode_refuses_a_file_that_others_can_touch(tmp_path, mode):
    path = tmp_path / "kek"
    path.write_text(line())
    path.chmod(mode)
    with pytest.raises(KekUnavailable, match="chmod 600"):
        keyfile.read(path, strict_mode=True)
    assert keyfile.read(path, strict_mode=False)


def test_a_missing_file_is_named_by_its_error_class_alone(tmp_path):
    with pytest.raises(KekUnavailable, match="FileNotFoundError"):
        keyfile.read(tmp_path / "nothing", strict_mode=True)


def test_a_folder_a_pipe_and_an_endless_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"#" * (keyfile.MAX_FILE_SIZE + 1))
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "long"):
        with pytest.raises(KekUnavailable):
            keyfile.read(path, strict_mode=False)


def test_a_new_file_is_private_and_never_overwrites(tmp_path):
    path = tmp_path / "deep" / "kek"
    keyfile.write_new(path, "v1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(keyfile.parse(keyfile.read(path, strict_mode=True))) == ["v1"]
    with pytest.raises(FileExistsError):
        keyfile.write_new(path)
