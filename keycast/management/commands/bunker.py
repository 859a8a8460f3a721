"""``manage.py bunker``: one bunker worker, in the manner of Channels' ``runworker``. SIGTERM drains it."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from bunker.worker.leases import AnotherWorkerRunning
from bunker.worker.runtime import BunkerWorker, default_port
from keycast.audit.errors import DatabaseOutdated
from keycast.base import hsm_keeping, metrics
from keycast.base.hardening import harden
from keycast.operations.startup import refuse_unsafe_start
from keycast.operations.watchdog import watch


class Command(BaseCommand):
    """Serve NIP-46 until told to stop."""

    help = "Run one bunker worker (scaled shape). SIGTERM: finish what was begun within 10 seconds, then exit 0."

    def handle(self, *args: Any, **options: Any) -> None:
        harden(locks_memory=False)
        hsm_keeping.give_up()
        refuse_unsafe_start()
        metrics.serve(settings.METRICS_PORT)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except AnotherWorkerRunning as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseOutdated as refusal:
            raise CommandError(refusal.public_message) from None


async def serve() -> None:
    """One worker, ended by SIGTERM or SIGINT; a second signal ends it without waiting."""
    stop = asyncio.Event()
    worker = BunkerWorker(port=default_port())

    def on_signal() -> None:
        if stop.is_set():
            worker.hurry()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    watchdog = asyncio.create_task(watch(stop, is_web=False))
    try:
        await worker.run(stop)
    finally:
        watchdog.cancel()
