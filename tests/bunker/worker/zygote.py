"""Forks bunker workers on demand, so that a test can kill hundreds. Run as a script; never imported by tests.

Reads lines ``START <socket path> <step or ->`` on stdin and answers each with the child's process id. A child serves a
worker whose built-in relay is that unix socket: lines of event JSON in, lines of reply JSON out.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from typing import Any

import django

sys.path.insert(0, os.environ["KEYCAST_TEST_ROOT"])
django.setup()

import uvloop  # noqa: E402

from bunker.worker.runtime import BunkerWorker  # noqa: E402
from keycast.base import crash  # noqa: E402
from tests.bunker.support import FakePool, FakePort  # noqa: E402


class SocketPort(FakePort):
    """A FakePort whose client is at the other end of a unix socket."""

    writer: Any = None

    def publish(self, event: Any, raw: bytes) -> None:
        if self.writer is not None:
            self.writer.write(raw + b"\n")


async def serve(path: str) -> None:
    port = SocketPort()
    worker = BunkerWorker(port=port, pool=FakePool())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connected = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port.writer = writer
        connected.set()
        await worker.ready.wait()
        while line := await reader.readline():
            while not worker.holding.servable():
                await asyncio.sleep(0.005)
            port.send(line.strip())

    server = await asyncio.start_unix_server(client, path, limit=2**20)
    await connected.wait()
    await worker.run(stop)
    server.close()


def _stand_alone() -> None:
    """Hold none of the parent's pipes, and die with it (prctl(2), PR_SET_PDEATHSIG)."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        _, path, step = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _stand_alone()
            crash.arm("" if step == "-" else step)
            uvloop.run(serve(path))
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
