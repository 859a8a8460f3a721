"""The local key-encryption keys as an operator writes them down: lines ``version:base64 of 32 bytes``, last is current.

They come from the environment variable ``KEYCAST_KEK`` (lines may be separated by spaces too) or the file that
``KEYCAST_KEK_FILE`` names. No error ever repeats any of the content.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keycast.base.randomness import why_not_random
from keycast.crypto.secret import SecretBytes
from keys.errors import KekUnavailable

KEK_SIZE: Final = 32
HAND_MADE: Final = "hand-made-keys"
"""What KEYCAST_ACCEPTED_RISKS calls a key that looks as if somebody made it (keycast.E031)."""
MAX_FILE_SIZE: Final = 64 * 1024
_LINE: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([A-Za-z0-9+/]{43}=)")


def parse(text: bytes) -> dict[str, SecretBytes]:
    """The keys by version, in the order written. Raises KekUnavailable naming the line, never its content."""
    keys: dict[str, SecretBytes] = {}
    for number, line in enumerate(_lines(text), start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise KekUnavailable(f"Key-encryption key {number} is not “version:base64 of 32 bytes”.")
        version = found[1].decode()
        key = _decode(found[2], number)
        if version in keys or key in keys.values():
            raise KekUnavailable(f"Key-encryption key {number} repeats the version or the key of an earlier one.")
        keys[version] = key
    if not keys:
        raise KekUnavailable("No key-encryption key is configured.")
    return keys


def read(path: Path, *, strict_mode: bool) -> bytes:
    """The content of a key file. With ``strict_mode`` a file that group or others can read is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KekUnavailable(f"The key-encryption key file cannot be read: {type(error).__name__}.") from None
    try:
        _check(os.fstat(descriptor), strict_mode=strict_mode)
        text = os.read(descriptor, MAX_FILE_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(text) > MAX_FILE_SIZE:
        raise KekUnavailable("The key-encryption key file is too long.")
    return text


def write_new(path: Path, version: str = "1") -> None:
    """Write a fresh random key to a new file that only its owner can read. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(path, fresh_line(version))


def write_line(path: Path, line: bytes) -> None:
    """Keep one line in a new file that only its owner can read. Raises KekUnavailable."""
    try:
        _create(path, line)
    except OSError as error:
        raise KekUnavailable(f"{path} cannot be written: {error.strerror}.") from None


def _create(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def fresh_line(version: str) -> bytes:
    """A line with a fresh random key."""
    with SecretBytes.random(KEK_SIZE) as key:
        return version.encode() + b":" + base64.b64encode(key.view()) + b"\n"


def add_version(path: Path, version: str) -> None:
    """Append a fresh key as the current one, unless there is one of this name. The old file stays whole until then."""
    with _locked(path) as text:
        if version not in parse(text):
            _replace(path, text + (b"" if text.endswith(b"\n") else b"\n") + fresh_line(version))


def remove_version(path: Path, version: str) -> None:
    """Take an old key out; repeatable. Raises KekUnavailable for the current one."""
    with _locked(path) as text:
        known = list(parse(text))
        if version not in known:
            return
        if known[-1] == version:
            raise KekUnavailable("This is the current version of the key-encryption key.")
        _replace(path, b"".join(_without(line, version) for line in text.splitlines(keepends=True)))


def line_of(text: bytes, version: str) -> bytes:
    """The line of one version, to be kept elsewhere. Raises KekUnavailable."""
    for word in _lines(text):
        if word.partition(b":")[0] == version.encode():
            return word + b"\n"
    raise KekUnavailable("There is no such version of the key-encryption key.")


def _without(line: bytes, version: str) -> bytes:
    if line.lstrip().startswith(b"#"):
        return line
    words = [word for word in line.split() if word.partition(b":")[0] != version.encode()]
    return line if len(words) == len(line.split()) else b"".join(word + b"\n" for word in words)


@contextmanager
def _locked(path: Path) -> Iterator[bytes]:
    """The content, with everybody else who would change the file waiting."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KekUnavailable(f"The key-encryption key file cannot be read: {type(error).__name__}.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino != path.stat().st_ino:
                continue  # it was replaced while we waited
            yield read(path, strict_mode=False)
            return
        finally:
            os.close(descriptor)


def _replace(path: Path, text: bytes) -> None:
    """Put a new file in its place in one step, with the old one's owner, readable by that owner alone."""
    real = path.resolve()
    beside = real.with_name(f"{real.name}.new")
    try:
        owner = real.stat()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(real)
        _sync(real.parent)
    except OSError as error:
        raise KekUnavailable(f"The key-encryption key file cannot be written: {type(error).__name__}.") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(text: bytes) -> list[bytes]:
    lines = (line.strip() for line in text.splitlines())
    return [word for line in lines if not line.startswith(b"#") for word in line.split()]


def _decode(encoded: bytes, number: int) -> SecretBytes:
    try:
        raw = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raw = b""
    # Written in the one right way, and not obviously made by hand; the settings' checks accept the latter by its name.
    is_accepted = HAND_MADE in os.environ.get("KEYCAST_ACCEPTED_RISKS", "").split(",")
    if len(raw) != KEK_SIZE or base64.b64encode(raw) != encoded or (why_not_random(raw) and not is_accepted):
        raise KekUnavailable(f"Key-encryption key {number} is not 32 random bytes in base64.")
    return SecretBytes.adopt_bytes(raw)


def _check(status: os.stat_result, *, strict_mode: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KekUnavailable("The key-encryption key file is not a regular file.")
    if strict_mode and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KekUnavailable("The key-encryption key file can be read by others: chmod 600 it.")
    if strict_mode and status.st_uid not in {0, os.geteuid()}:
        raise KekUnavailable("The key-encryption key file belongs to another user.")
