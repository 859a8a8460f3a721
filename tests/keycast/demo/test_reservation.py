"""What a demo has to itself: no second one takes its folder or its port."""

from __future__ import annotations

import socket

import pytest

from keycast.demo import reservation
from keycast.demo.processes import DemoFailed
from keycast.demo.reservation import locked_folder, open_port


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(reservation, "LOCK_WITHIN", 0.0)


def test_a_second_demo_on_the_same_folder_is_told_what_to_do(tmp_path):
    with (
        locked_folder(tmp_path / "var"),
        pytest.raises(DemoFailed, match=r"Another demo runs on the data in .*make demo FOLDER="),
        locked_folder(tmp_path / "var"),
    ):
        pass
    with locked_folder(tmp_path / "var"):
        assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700


def test_a_folder_whose_sockets_could_not_be_made_is_refused(tmp_path):
    with pytest.raises(DemoFailed, match="too long"), locked_folder(tmp_path / ("x" * 100)):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DemoFailed, match="Cannot write in"), locked_folder(tmp_path / "file" / "var"):
        pass


def test_two_demos_that_want_the_same_port_get_two():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with open_port(taken) as first, open_port(taken) as second:
            assert len({taken, first.getsockname()[1], second.getsockname()[1]}) == 3


def test_the_port_is_kept_for_the_server():
    with open_port(0) as listener, pytest.raises(OSError, match="in use"):
        socket.create_server(listener.getsockname())


def test_a_port_that_there_is_not_gives_one_that_is_free():
    with open_port(70_000) as listener:
        assert listener.getsockname()[1] > 0
