"""A part that ends is started again; all parts stop together."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from keycast.base import supervision
from keycast.base.child_processes import ChildEnded, run_command
from keycast.base.supervision import SupervisedService, Supervisor, pause_after
from keycast.lifespan import Lifespan


async def until(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.01)


async def test_a_service_that_fails_is_started_again() -> None:
    starts: list[int] = []

    async def fail_twice(stop: asyncio.Event) -> None:
        starts.append(1)
        if len(starts) < 3:
            raise OSError("no")
        await stop.wait()

    service = SupervisedService("flaky", fail_twice)
    supervisor = Supervisor([service])
    supervisor.start()
    await until(lambda: len(starts) == 3)
    assert service.restarts == 2
    assert service.is_running
    await supervisor.stop()
    assert not service.is_running


async def test_a_service_that_returns_unasked_counts_as_failed() -> None:
    starts: list[int] = []

    async def give_up(stop: asyncio.Event) -> None:
        starts.append(1)

    supervisor = Supervisor([SupervisedService("lazy", give_up)])
    supervisor.start()
    await until(lambda: len(starts) >= 2)
    await supervisor.stop()


async def test_the_failure_of_one_leaves_the_other_alone() -> None:
    ended: list[str] = []

    async def steady(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.append("cleanly")

    async def broken(stop: asyncio.Event) -> None:
        raise ValueError("x")

    supervisor = Supervisor([SupervisedService("steady", steady), SupervisedService("broken", broken)])
    supervisor.start()
    await asyncio.sleep(0.05)
    assert ended == []
    await supervisor.stop()
    assert ended == ["cleanly"]


async def test_a_service_that_ignores_the_stop_is_cancelled_after_its_grace() -> None:
    cancelled: list[bool] = []

    async def deaf(stop: asyncio.Event) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    supervisor = Supervisor([SupervisedService("deaf", deaf)], grace=0.05)
    supervisor.start()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(3):
        await supervisor.stop()
        await supervisor.stop()
    assert cancelled == [True]


def test_pauses_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 1.0)
    assert [pause_after(n) for n in (1, 2, 3, 4, 5, 6, 50)] == [1, 2, 4, 8, 16, 30, 30]


async def test_the_lifespan_starts_and_stops_the_services() -> None:
    ran: list[str] = []

    async def service(stop: asyncio.Event) -> None:
        ran.append("started")
        await stop.wait()
        ran.append("stopped")

    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: list[str] = []

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    task = asyncio.create_task(Lifespan([SupervisedService("one", service)])({"type": "lifespan"}, inbox.get, send))
    await inbox.put({"type": "lifespan.startup"})
    await until(lambda: ran == ["started"])
    await inbox.put({"type": "lifespan.shutdown"})
    await task
    assert ran == ["started", "stopped"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


SCRIPT = """
import os, pathlib, signal, sys, time
sys.path.insert(0, {root!r})
from keycast.base.child_processes import end_with_parent
end_with_parent()
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
time.sleep(0 if sys.argv[1] == "brief" else 60)
"""


@pytest.fixture
def script(tmp_path: Path, settings: Settings) -> Path:
    """A manage.py of our own, whose child writes its pid when it is ready."""
    (tmp_path / "manage.py").write_text(SCRIPT.format(root=str(settings.BASE_DIR)))
    settings.BASE_DIR = tmp_path
    return tmp_path / "manage.pid"


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_child_that_ends_by_itself_is_an_error(script: Path) -> None:
    with pytest.raises(ChildEnded, match="brief ended with exit code 0"):
        await run_command(asyncio.Event(), "brief")


@pytest.mark.parametrize("kind", ["obedient", "deaf"])
async def test_a_child_ends_when_asked_to(script: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("keycast.base.child_processes.STOP_WITHIN", 0.3)
    stop = asyncio.Event()
    task = asyncio.create_task(run_command(stop, kind))
    await until(lambda: script.exists() and script.read_text())
    pid = int(script.read_text())
    assert is_alive(pid)
    stop.set()
    await asyncio.wait_for(task, 5)
    assert not is_alive(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
async def test_a_child_does_not_outlive_a_killed_parent(script: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from pathlib import Path\n"
        "from django.conf import settings\n"
        f"settings.configure(BASE_DIR=Path({str(tmp_path)!r}), IS_CHECKOUT=True)\n"
        "from keycast.base.child_processes import run_command\n"
        "asyncio.run(run_command(asyncio.Event(), 'obedient'))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(parent))
    await until(lambda: script.exists() and script.read_text(), 15)
    pid = int(script.read_text())
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await until(lambda: not is_alive(pid))
