"""Keeps long-running parts alive inside one event loop, and stops them together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from keycast.base.metrics import SERVICE_RESTARTS

log = structlog.get_logger(__name__)

Run = Callable[[asyncio.Event], Awaitable[None]]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
HEALTHY_AFTER = 60.0
"""Seconds a service must have run before its next failure counts as its first."""


@dataclass(slots=True)
class SupervisedService:
    """One long-running part: ``run`` returns soon after its event is set, and raises only when it cannot go on."""

    name: str
    run: Run
    restarts: int = 0
    started_at: float = 0.0
    is_running: bool = False


def pause_after(failures: int) -> float:
    """Seconds to wait before start number ``failures`` + 1."""
    return min(FIRST_PAUSE * float(2 ** (failures - 1)), LONGEST_PAUSE)


@dataclass(slots=True)
class Supervisor:
    """Runs services side by side; one that ends is started again after a growing pause."""

    services: list[SupervisedService]
    grace: float = 15.0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._keep_running(service), name=f"keycast:{service.name}")
            for service in self.services
        ]

    async def stop(self) -> None:
        """Ask every service to end and wait up to ``grace`` seconds; cancel what is left. May be called twice."""
        self._stop.set()
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self.grace)
        for task in late:
            log.warning("service_cancelled", service=task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1)

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    async def _keep_running(self, service: SupervisedService) -> None:
        failures = 0
        while not self._stop.is_set():
            error = await self._run_once(service)
            if self._stop.is_set():
                return
            lasted = time.monotonic() - service.started_at
            failures = 1 if lasted >= HEALTHY_AFTER else failures + 1
            service.restarts += 1
            SERVICE_RESTARTS.labels(service.name).inc()
            pause = pause_after(failures)
            log.error("service_ended", service=service.name, error=error, next_start_in=pause)
            await self._sleep(pause)

    async def _run_once(self, service: SupervisedService) -> str:
        """Run until the service ends; the class of its error, never its text, is returned for the log."""
        service.started_at, service.is_running = time.monotonic(), True
        task = asyncio.ensure_future(service.run(self._stop))
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            service.is_running = False
        if task.cancelled():
            return "cancelled"
        failure = task.exception()
        return type(failure).__name__ if failure else "returned"

    async def _sleep(self, seconds: float) -> None:
        waiter = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({waiter}, timeout=seconds)
        waiter.cancel()
