"""The image's health check, asked beside real listeners: it says no before it says yes."""

from __future__ import annotations

import http.server
import runpy
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.files import executable
from tests.paths import ROOT

PATH = ROOT / "deploy" / "image" / "healthcheck.py"
CHECK: dict[str, Any] = runpy.run_path(str(PATH))


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_does_not_answer_or_answers_with_an_error_is_not_well(port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert not CHECK["answers_http"](probe.getsockname()[1], "/healthz")
    assert not CHECK["answers_http"](port, "/readyz")
    assert CHECK["answers_http"](port, "/healthz")


def test_a_socket_that_nobody_listens_at_is_not_well(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    assert not CHECK["accepts"](str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not CHECK["accepts"](str(path))
        server.listen()
        assert CHECK["accepts"](str(path))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/sbin/docker-init", "--", "keycast", "serve"], "serve"),
        (["/opt/keycast/bin/python3", "/opt/keycast/bin/keycast", "signer"], "signer"),
        (["python", "manage.py", "bunker", "--verbosity", "0"], "bunker"),
        (["sh", "-c", "serve"], ""),
        (["keycast-healthcheck", "serve"], ""),
    ],
)
def test_the_process_is_known_by_its_command_line(tmp_path: Path, words: list[str], found: str) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    (tmp_path / "self").mkdir()
    assert CHECK["command"](tmp_path) == found


def test_it_can_be_run() -> None:
    assert executable(PATH)
