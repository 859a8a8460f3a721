"""Connections that ask for nothing, or for too much, against the real server: half-sent heads, endless ones, bodies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.production import environment_in, get, is_ready, probe_token, serving

HALF = b"GET / HTTP/1.1\r\nHost: admin.test\r\nX-Half: "
MIB = 1024 * 1024
PATIENCE = 60
"""Seconds after which a test gives up; nothing is measured by it."""
LIMITS = "head_seconds=2,body_seconds=2,connections_per_network=40,stall_seconds=2"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with one platform host and no tenant."""
    folder = tmp_path_factory.mktemp("connections")
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = {
        **environment_in(folder),
        "KEYCAST_RELAY_LIMITS": "connections=100",
        "KEYCAST_CONNECTION_LIMITS": f"connections=150,{LIMITS}",
        "TMPDIR": str(temporary),
    }
    with serving(environment) as (process, number):
        assert is_ready(environment, f"http://127.0.0.1:{number}/")
        Process.pid, Process.token = process.pid, probe_token(environment)
        yield number


class Process:
    """The server under attack."""

    pid = 0
    token = ""


def client(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0))


def heard(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection; a timeout, if it does not, fails the test."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except (ConnectionResetError, BrokenPipeError):
        pass
    return b"".join(parts)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def written_to_disk() -> list[str]:
    """Files without a name, as temporary ones are, that the server has open and that hold something."""
    folder = Path(f"/proc/{Process.pid}/fd")
    found = []
    for file in folder.iterdir():
        try:
            if "(deleted)" in str(file.readlink()) and file.stat().st_size > MIB:
                found.append(str(file.readlink()))
        except FileNotFoundError:
            continue
    return found


def test_a_half_sent_head_is_ended(port: int) -> None:
    with client(port) as connection:
        connection.sendall(HALF)
        assert heard(connection) == b""


def test_a_head_that_never_ends_is_ended_however_often_a_byte_comes(port: int) -> None:
    with client(port) as connection:
        connection.sendall(HALF)
        connection.settimeout(0.2)
        for _ in range(PATIENCE * 5):
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return
        pytest.fail("still open")


def test_silence_and_empty_lines_are_no_request_either(port: int) -> None:
    with client(port) as silent, client(port) as lines:
        lines.sendall(b"\r\n\r\n")
        assert heard(silent) == b""
        assert heard(lines) == b""


@pytest.mark.parametrize("piece", [b"X: " + b"y" * 100_000, b"X: y\r\n" * 20_000], ids=["one", "many"])
def test_an_endless_head_is_refused(port: int, piece: bytes) -> None:
    with client(port) as connection:
        taken = 0
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: admin.test\r\n")
            while taken < 200 * MIB:
                connection.sendall(piece)
                taken += len(piece)
        except OSError:
            pass
        assert taken < 50 * MIB
        assert heard(connection).startswith(b"HTTP/1.1 431 ") or taken


def test_one_head_in_one_read_that_is_too_long_is_refused(port: int) -> None:
    with client(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: admin.test\r\n" + b"X: y\r\n" * 101 + b"\r\n")
        assert status(heard(connection)) == 431


@pytest.mark.parametrize(
    ("host", "expected"),
    [("nobody.test", 404), ("not a host", 400), ("a.test\r\nHost: admin.test", 400), ("admin.test", 413)],
)
def test_a_body_of_300_mib_is_refused_before_it_is_sent(port: int, host: str, expected: int) -> None:
    with client(port) as connection:
        length = 300 * MIB if expected != 404 else 1000
        connection.sendall(
            f"POST /account/login/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert status(heard(connection)) == expected


def test_chunks_without_end_are_refused_and_nothing_is_written_to_disk(port: int) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with client(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: admin.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        taken = 0
        try:
            while taken < 300 * MIB:
                connection.sendall(chunk)
                taken += len(chunk)
        except OSError:
            pass
        assert taken < 50 * MIB
        assert written_to_disk() == []


def test_trailers_are_no_headers_and_have_an_end(port: int) -> None:
    with client(port) as connection:
        connection.sendall(
            b"POST /account/login/ HTTP/1.1\r\nHost: admin.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        )
        taken = 0
        try:
            while taken < 300 * MIB:
                connection.sendall(b"X: " + b"y" * 100_000)
                taken += 100_000
        except OSError:
            pass
        assert taken < 50 * MIB
    with client(port) as connection:
        connection.sendall(
            b"POST /x HTTP/1.1\r\nHost: admin.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\nHost: evil.test\r\n\r\n"
        )
        assert status(heard(connection)) == 404, "there is nothing at /x of this one host; of two hosts it would be 400"


def test_a_body_that_does_not_come_is_ended(port: int) -> None:
    with client(port) as connection:
        connection.sendall(b"POST /account/login/ HTTP/1.1\r\nHost: admin.test\r\nContent-Length: 1000\r\n\r\nx")
        assert status(heard(connection)) == 408


def test_probes_take_no_body(port: int) -> None:
    with client(port) as connection:
        connection.sendall(b"POST /healthz HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
        assert status(heard(connection)) == 413


def test_one_address_has_its_share_of_connections_and_others_go_on(port: int) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(client(port, "127.0.0.9")) for _ in range(45)]
        for connection in held:
            connection.sendall(HALF)
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, "ok\n")
        assert [heard(connection) for connection in held] == [b""] * 45


def test_a_thousand_half_sent_requests_close_nothing(port: int) -> None:
    with ExitStack() as stack:
        for number in range(950):
            connection = stack.enter_context(client(port, f"127.0.{1 + number // 30}.1"))
            connection.sendall(HALF)
        for _ in range(20):
            assert get(f"http://127.0.0.1:{port}/healthz") == (200, "ok\n")
        assert len(list(Path(f"/proc/{Process.pid}/fd").iterdir())) < 400


def test_what_ended_is_counted_by_its_reason(port: int) -> None:
    with client(port) as connection:
        connection.sendall(HALF)
        heard(connection)
    counted = get(f"http://127.0.0.1:{port}/metrics", Process.token)[1]
    assert 'keycast_connections_ended_total{reason="head"}' in counted
