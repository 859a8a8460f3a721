"""The co-signer as a process: its own key-encryption key, its own database, nothing of signer A's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from keycast.audit.tags import AuditOutcome
from keycast.base import hardening
from keycast.crypto import known_answers
from keys.cosigner import records
from keys.cosigner.alarms import CosignerAlarms, Send
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.brake import CosignerBrake
from keys.cosigner.brake_rules import BrakeDefaults
from keys.cosigner.candidates import AuthoriserPolicy
from keys.cosigner.clock import CosignerClock
from keys.cosigner.forgetting import ForgettingLimits
from keys.cosigner.open_readings import ReadingLimits
from keys.cosigner.server import CosignerServer
from keys.cosigner.service import Cosigner, CosignerLimits
from keys.cosigner.store import CosignerRefusalError, CosignerStore, StoreTransaction
from keys.errors import KekUnavailable
from keys.signing.cache import LeasedCache
from keys.signing.cosigning.address import Address
from keys.signing.kms import keyfile
from keys.signing.kms.local import LocalKekProvider
from keys.signing.opened_key import OpenKey
from keys.signing.sealed_halves import fingerprint
from keys.signing.vault import OpenKeyVault

logger = logging.getLogger(__name__)
FOREIGN: Final = (
    *("KEYCAST_KEK", "KEYCAST_KEK_FILE", "KEYCAST_FIELD_KEY", "KEYCAST_FIELD_KEY_FILE", "DATABASE_URL", "REDIS_URL"),
    *("SECRET_KEY", "SECRET_KEY_FILE", "SECRET_KEY_FALLBACKS", "KEYCAST_PROBE_TOKEN", "KEYCAST_PROBE_TOKEN_FILE"),
    *("EMAIL_URL", "GOOGLE_APPLICATION_CREDENTIALS", "KEYCAST_GCP_KEK", "KEYCAST_HSM_PROVIDERS"),
    *("KEYCAST_GCP_AUTHORISER_CREDENTIALS", "KEYCAST_GCP_KEEPER_CREDENTIALS"),
)
"""What the co-signer has no business with."""
_STAND_INS: Final = {
    "SECRET_KEY": "the co-signer serves no web page and signs no session",
    "KEYCAST_FIELD_KEY": "unused",
    "DATABASE_URL": "sqlite://:memory:",
    "EMAIL_URL": "consolemail://",
}
NOTICE_SECONDS: Final = 1.0
TICK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class CosignerSettings:
    """What a co-signer is started with.

    ``users`` are the ids of who may connect to its socket, by default its own; limits are uses a second.
    ``lease_seconds`` is for how long, and ``halves_kept`` for how many halves, one may stay open.
    """

    database: Path
    data_dir: Path
    address: Address
    users: frozenset[int]
    key_limit: float
    tenant_limit: float
    lease_seconds: float
    halves_kept: int
    forgetting: ForgettingLimits
    reading: ReadingLimits
    are_signatures_shared: bool
    is_production: bool
    policy: AuthoriserPolicy
    brake: BrakeDefaults = field(default_factory=BrakeDefaults)
    send_alarm: Send | None = None


class SignerKekGivenError(Exception):
    """The co-signer was given signer A's key-encryption key."""


class CosignerKek(LocalKekProvider):
    """``KEYCAST_COSIGNER_KEK``, ``KEYCAST_COSIGNER_KEK_FILE`` or, outside production, ``cosigner-kek`` of DATA_DIR."""

    name = records.KEK_PROVIDER

    @classmethod
    def found(cls, data_dir: Path, *, is_production: bool) -> CosignerKek:
        """As the environment names it; a new one is made outside production. Raises KekUnavailable."""
        value, path = os.environ.get("KEYCAST_COSIGNER_KEK", ""), os.environ.get("KEYCAST_COSIGNER_KEK_FILE", "")
        if value and path:
            raise KekUnavailable("Set KEYCAST_COSIGNER_KEK or KEYCAST_COSIGNER_KEK_FILE, not both.")
        if value:
            return cls(lambda: os.environ.get("KEYCAST_COSIGNER_KEK", "").encode())
        if not path and is_production:
            raise KekUnavailable("No key-encryption key of the co-signer: set KEYCAST_COSIGNER_KEK_FILE.")
        file = Path(path) if path else data_dir / "cosigner-kek"
        if not path and not file.exists():
            keyfile.write_new(file)
        return cls.from_file(file, strict_mode=is_production)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a child process that is the co-signer inherits: nothing of signer A's.

    Empty rather than missing, so that a .env file does not bring them back.
    """
    kept = {
        name: value
        for name, value in given.items()
        if not name.startswith(("KEYCAST_NETHSM_", "KEYCAST_OPENBAO_", "KEYCAST_PKCS11_"))
    }
    return {**kept, **dict.fromkeys(FOREIGN, ""), **_STAND_INS}


async def run(settings: CosignerSettings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until ``stop`` is set. Raises KekUnavailable, CosignerStoreInUse, Foreign, KnownAnswerFailed."""
    hardening.harden()
    known_answers.require()
    if settings.is_production and (os.environ.get("KEYCAST_KEK") or os.environ.get("KEYCAST_KEK_FILE")):
        raise SignerKekGivenError("The co-signer must not have KEYCAST_KEK: who holds both keys holds both halves.")
    kek = CosignerKek.found(settings.data_dir, is_production=settings.is_production)
    alarms = CosignerAlarms(settings.send_alarm)
    store = CosignerStore(settings.database, CosignerBrake(settings.brake), alarms.watch)
    try:
        vault = OpenKeyVault(
            lambda keypair, tenant_id: OpenKey(keypair, tenant_id, 0),
            lambda _: kek,
            LeasedCache[object, OpenKey](lambda: settings.lease_seconds, settings.halves_kept),  # type: ignore[arg-type]
        )
        limits = CosignerLimits(
            _limit(settings.key_limit),
            _limit(settings.tenant_limit),
            settings.forgetting,
            settings.reading,
            settings.are_signatures_shared,
        )
        users = settings.users or frozenset({os.geteuid()})
        cosigner = Cosigner(store, vault, lambda: kek, limits, settings.policy, alarms.refused)
        server = CosignerServer(cosigner, settings.address, users)
        # Before the first request: from here on the log shows when this process could have signed.
        await store.write(partial(_begin, fingerprint(cosigner.imports.public)))
        # And before it again: an old half whose time has come while the process was away does not sign once more.
        await cosigner.clock.tick()
        await server.start()
        where = settings.address
        ready(str(where.path) if where.path else f"{where.host}:{server.port}")
        noticing = asyncio.create_task(_notice(store))
        await _until(stop, cosigner.clock)
        noticing.cancel()
        await server.stop()
        await cosigner.reading.end_all()
        # When the server has stopped, so that no request opens a half again.
        vault.forget_all()
    finally:
        store.close()
        alarms.close()


async def _until(stop: asyncio.Event, clock: CosignerClock) -> None:
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            try:
                await clock.tick()
            except CosignerRefusalError as refusal:  # the disk is full, or too much waits for it
                logger.warning("the clock waits", extra={"code": refusal.code.value})


async def _notice(store: CosignerStore) -> None:
    """Have the store look at what the operator's commands wrote, where no request does."""
    while True:
        await asyncio.sleep(NOTICE_SECONDS)
        with contextlib.suppress(CosignerRefusalError):  # the disk is full, or 4,096 wait: those look by themselves
            await store.write(lambda _: None)


def _begin(encryption_key: str, writing: StoreTransaction) -> None:
    data = {"encryption_key": encryption_key}
    writing.note(CosignerAuditEntry(CosignerAuditTag.STARTED, AuditOutcome.OK, f"process:{os.getpid()}", data=data))


def _limit(rate: float) -> tuple[float, float]:
    return rate, 4 * rate
