"""What starts and stops with the server (ASGI lifespan protocol)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from bunker.relays.hub import get_hub
from keycast.base.child_processes import run_command
from keycast.base.metrics import RELAY_CLIENTS
from keycast.base.supervision import SupervisedService, Supervisor
from keys.hsm.providers import splits_here

QUIET = ("--verbosity", "0")
"""Of children that would say where they listen: nobody but this process connects to them."""


async def run_worker(stop: asyncio.Event) -> None:
    """Run one bunker worker in this event loop, sharing the built-in relay's hub with the web side."""
    from bunker.worker.runtime import BunkerWorker  # noqa: PLC0415  (its imports cost, and only this shape needs them)

    await BunkerWorker().run(stop)


async def run_jobs(stop: asyncio.Event) -> None:
    """Run the job cluster as a child process: django-q2 forks, which a process with threads must not do.

    One that hangs is ended, and started again by the supervisor.
    """
    from keycast.operations.watchdog import wait_for_silence  # noqa: PLC0415  (its imports cost)
    from keys.signing.isolated.process import without_kek  # noqa: PLC0415  (as above)

    environment = without_kek(os.environ) if settings.SIGNER_SOCKET else None
    await run_command(stop, "qcluster", environment=environment, watch=wait_for_silence)


async def run_signer(stop: asyncio.Event) -> None:
    """Run the signer as a child process, which alone reads the key-encryption keys."""
    from keys.signing.isolated.process import environment  # noqa: PLC0415  (as above)

    await run_command(stop, "signer", *QUIET, environment=environment(os.environ))


async def run_watchdog(stop: asyncio.Event) -> None:
    """Look after everything from outside the job cluster."""
    from keycast.operations.watchdog import watch  # noqa: PLC0415  (as above)

    await watch(stop)


async def run_cosigner(stop: asyncio.Event) -> None:
    """Run signer B of split keys as a child process, without the secrets of this one."""
    from keys.cosigner.process import environment  # noqa: PLC0415  (as above)

    await run_command(stop, "cosigner", *QUIET, environment=environment(os.environ))


async def run_kms_emulator(stop: asyncio.Event) -> None:
    """Run the stand-in for Cloud KMS as a child process; outside production, where the settings ask for it."""
    keys = str(settings.DATA_DIR / "kms-emulator.json")
    place = ("--socket", settings.KMS_EMULATOR_SOCKET) if settings.KMS_EMULATOR_SOCKET else ()
    ring = ("--key-ring", settings.GCP_KEY_RING) if settings.GCP_KEY_RING else ()
    port = ("--port", str(settings.KMS_EMULATOR_PORT))
    await run_command(stop, "kms_emulator", *QUIET, *port, *place, *ring, "--file", keys)


async def run_relay_bridge(stop: asyncio.Event) -> None:
    """Connect the built-in relay of this process to the workers in others (scaled shape)."""
    from bunker.worker.web import serve_relay  # noqa: PLC0415  (as above)

    await serve_relay(stop)


def web_services() -> list[SupervisedService]:
    """What a web process of the scaled shape runs beside the web."""
    return [SupervisedService("relay bridge", run_relay_bridge), SupervisedService("watchdog", run_watchdog)]


def embedded_services() -> list[SupervisedService]:
    """What one process of the embedded shape runs beside the web."""
    services = [
        SupervisedService("bunker worker", run_worker),
        SupervisedService("jobs", run_jobs),
        SupervisedService("watchdog", run_watchdog),
    ]
    if settings.SIGNER_IS_CHILD:
        services.append(SupervisedService("signer", run_signer))
    if splits_here() and settings.COSIGNER_IS_CHILD:
        services.append(SupervisedService("co-signer", run_cosigner))
    if "google" in settings.HSM_PROVIDERS and settings.KMS_EMULATOR_IS_CHILD:
        services.append(SupervisedService("Cloud KMS emulator", run_kms_emulator))
    return services


class Lifespan:
    """The ``lifespan`` application: starts the services, and stops them when the server goes down."""

    def __init__(self, services: Sequence[SupervisedService]) -> None:
        self.services = list(services)
        self.supervisor: Supervisor | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def start(self) -> None:
        RELAY_CLIENTS.set_function(lambda: get_hub().connections)
        self.supervisor = Supervisor(self.services)
        self.supervisor.start()

    async def stop(self) -> None:
        """End the services; a second call returns at once."""
        if self.supervisor is not None:
            await self.supervisor.stop()
