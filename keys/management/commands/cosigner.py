"""Run the co-signer (signer B of split keys), or do what its operator alone may do.

Without a subcommand it serves. The subcommands work beside a serving co-signer, on its machine, as its user.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keycast.base.child_processes import end_with_parent
from keycast.crypto.errors import CryptoError
from keycast.crypto.known_answers import KnownAnswerFailed
from keys.cosigner import audit, rescue, store
from keys.cosigner.alarm_mail import AlarmMailMisconfiguredError, alarm_mail
from keys.cosigner.attestation.roots import AttestationRoots
from keys.cosigner.brake_rules import BrakeDefaults, UnknownChoiceError, UnreadableKindsError
from keys.cosigner.candidates import AuthoriserPolicy
from keys.cosigner.forgetting import ForgettingLimits
from keys.cosigner.open_readings import ReadingLimits
from keys.cosigner.process import CosignerSettings, SignerKekGivenError, run
from keys.errors import KekUnavailable
from keys.management import cosigner_steps
from keys.signing.cosigning import address

_CANNOT_START = (
    KekUnavailable,
    SignerKekGivenError,
    KnownAnswerFailed,
    AlarmMailMisconfiguredError,
    UnreadableKindsError,
    UnknownChoiceError,
)


class Command(BaseCommand):
    """Exit code 0: ended when asked to, done, or the log is intact. 1: the log is not. 2: not done, with the reason."""

    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--verify-audit", action="store_true", help="Check the hash chain of its log, and end.")
        parser.add_argument(
            "--replace-authoriser",
            nargs=2,
            metavar=("KEY", "PUBLIC_KEY"),
            help="For an HSM key that is lost: accept another one (66 hex digits; 68 on P-256) for this key id.",
        )
        parser.add_argument("--reason", default="", help="with --replace-authoriser: why; it goes into the log")
        cosigner_steps.add_arguments(parser)

    def handle(self, *args: Any, verify_audit: bool, **options: Any) -> None:
        self._is_quiet = options["verbosity"] == 0
        path = Path(settings.COSIGNER_DB)
        if options.get("step"):
            cosigner_steps.run(path, brake_defaults(), options, self.stdout.write)
            return
        if verify_audit:
            self._verify(path)
            return
        if options["replace_authoriser"]:
            self._replace(path, *options["replace_authoriser"], reason=options["reason"].strip())
            return
        end_with_parent()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(path))
        except store.CosignerStoreInUse:
            raise CommandError(f"Another co-signer serves {path}.") from None
        except _CANNOT_START as error:
            raise CommandError(str(error)) from None

    async def _serve(self, path: Path) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        if settings.IS_PRODUCTION and settings.COSIGNER_AUTHORISER_PROOF == "first":
            self._say("It trusts the first HSM key that it is told of for a key, without proof that it is in an HSM.")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(
            _settings(path), stop, lambda where: self._say(f"The co-signer (process {os.getpid()}) listens on {where}")
        )

    def _say(self, text: str) -> None:
        if self._is_quiet:
            return
        self.stdout.write(text)
        self.stdout.flush()

    def _replace(self, path: Path, key: str, authoriser: str, *, reason: str) -> None:
        if not path.is_file():
            raise CommandError(f"There is no co-signer database {path}.", returncode=2)
        if not reason:
            raise CommandError("Say why, with --reason: it goes into the co-signer's log.", returncode=2)
        try:
            before = rescue.replace_authoriser(path, UUID(key), bytes.fromhex(authoriser), reason)
        except (ValueError, CryptoError):
            digits = "66 hexadecimal digits (68 on P-256)"
            raise CommandError(f"Give a key's id, and a public key of {digits}.", returncode=2) from None
        except store.CosignerStoreInUse:
            raise CommandError("Stop the co-signer first: it serves this file.", returncode=2) from None
        except store.CosignerRefusalError as refusal:
            raise CommandError(f"The co-signer refuses: {refusal.code.value}.", returncode=2) from None
        self._say(f"{key}: {authoriser} authorises from now on, and {before.hex()} no longer.")

    def _verify(self, path: Path) -> None:
        if not path.is_file():
            raise CommandError(f"There is no co-signer database {path}.", returncode=2)
        with closing(store.read_only(path)) as connection:
            found = audit.verify(connection)
        self._say(f"{found.rows} rows: {'NOT intact. ' + found.fault if found.fault else 'intact.'}")
        if found.fault:
            raise SystemExit(1)


def _settings(database: Path) -> CosignerSettings:
    return CosignerSettings(
        database=database,
        data_dir=Path(settings.DATA_DIR),
        address=address.from_settings(),
        users=frozenset(map(int, settings.COSIGNER_USERS)),
        key_limit=settings.COSIGNER_KEY_LIMIT,
        tenant_limit=settings.COSIGNER_TENANT_LIMIT,
        lease_seconds=float(settings.KEK_LEASE_SECONDS),
        halves_kept=settings.OPEN_KEYS_KEPT,
        forgetting=ForgettingLimits(
            delay=round(settings.COSIGNER_FORGET_DAYS * 86_400_000), an_hour=settings.COSIGNER_FORGETS_PER_HOUR
        ),
        reading=ReadingLimits(
            seconds=round(max(settings.COSIGNER_READING_MINUTES, 0.0) * 60), uses=max(settings.COSIGNER_READING_USES, 0)
        ),
        are_signatures_shared=settings.COSIGNER_SHARED_AUTHORISATIONS,
        is_production=settings.IS_PRODUCTION,
        policy=_policy(),
        brake=brake_defaults(),
        send_alarm=alarm_mail(
            settings.COSIGNER_EMAIL_URL, settings.COSIGNER_ALARM_TO, settings.COSIGNER_ALARM_FROM or "keycast@localhost"
        ),
    )


def brake_defaults() -> BrakeDefaults:
    """The bounds of the settings."""
    return BrakeDefaults(
        key_signatures=settings.COSIGNER_KEY_SIGNATURES,
        key_openings=settings.COSIGNER_KEY_OPENINGS,
        tenant_signatures=settings.COSIGNER_TENANT_SIGNATURES,
        tenant_openings=settings.COSIGNER_TENANT_OPENINGS,
        kinds=settings.COSIGNER_KINDS,
        asked=settings.COSIGNER_ASKED,
        apps=settings.COSIGNER_APPS,
    )


def _policy() -> AuthoriserPolicy:
    folder = Path(settings.COSIGNER_ATTESTATION_ROOTS) if settings.COSIGNER_ATTESTATION_ROOTS else None
    try:
        roots = AttestationRoots.found(folder, is_production=settings.IS_PRODUCTION)
    except (OSError, ValueError):
        raise CommandError(f"{folder} has no manufacturer.pem and owner.pem with certificates.") from None
    if settings.COSIGNER_AUTHORISER_PROOF not in {"attested", "first"}:
        raise CommandError("KEYCAST_COSIGNER_AUTHORISER_PROOF is attested or first.")
    return AuthoriserPolicy(
        roots=roots,
        key_ring=settings.GCP_KEY_RING,
        trusts_first=settings.COSIGNER_AUTHORISER_PROOF == "first",
        delay=int(max(settings.COSIGNER_AUTHORISER_DELAY_HOURS, 0.0) * 3_600_000),
    )
