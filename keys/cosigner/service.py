"""Signer B. It checks everything itself and trusts neither signer A nor whoever controls it.

Each request: the key is this tenant's and in use, the limits allow it, the event is what its id says, and the user's
own HSM key has signed for exactly this. Only then, and only when the audit row is on disk, is the half used.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from keycast.base.token_bucket import BucketMap
from keycast.crypto.errors import CryptoError
from keycast.crypto.secret import wipe_bytes
from keys.cosigner.apps import AppHandler
from keys.cosigner.authorisers import AuthoriserHandler
from keys.cosigner.candidates import AuthoriserPolicy
from keys.cosigner.challenges import ChallengeIssuer
from keys.cosigner.clock import CosignerClock
from keys.cosigner.forgetting import ForgettingHandler, ForgettingLimits
from keys.cosigner.half_refresh import RefreshHandler
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.key_lifecycle import KeyLifecycleHandler
from keys.cosigner.key_use import KeyUseHandler
from keys.cosigner.log_requests import LogHandler
from keys.cosigner.open_readings import ReadingLimits
from keys.cosigner.reading import ReadingHandler
from keys.cosigner.refusals import RefusalLog
from keys.cosigner.sealed_imports import SealedImportHandler
from keys.cosigner.store import CosignerRefusalError, CosignerStore
from keys.errors import KekUnavailable, KeyDamaged
from keys.signing.cosigning import messages
from keys.signing.cosigning.messages import AnyReply, CosignerRequest, RefusalCode
from keys.signing.kms.protocol import KekProvider
from keys.signing.opened_key import OpenKey
from keys.signing.vault import OpenKeyVault

logger = logging.getLogger(__name__)
MAX_BUCKETS: Final = 65_536


@dataclass(frozen=True)
class CosignerLimits:
    """Requests a second, and how many at once: for one key, and for one tenant. And what bounds the end of keys."""

    key: tuple[float, float] = (50, 200)
    tenant: tuple[float, float] = (1000, 2000)
    forgetting: ForgettingLimits = field(default_factory=ForgettingLimits)
    reading: ReadingLimits = field(default_factory=ReadingLimits)
    are_signatures_shared: bool = True
    """Whether one HSM signature may stand for several uses that came together."""


class Cosigner:
    """Answers requests; each room does its part of them. Used from one event loop."""

    def __init__(
        self,
        store: CosignerStore,
        vault: OpenKeyVault[OpenKey],
        kek: Callable[[], KekProvider],
        limits: CosignerLimits,
        policy: AuthoriserPolicy,
        on_refusal: Callable[[], None] = lambda: None,
        challenges: ChallengeIssuer | None = None,
    ) -> None:
        self._store, self._on_refusal = store, on_refusal
        self._key_limit, self._tenant_limit = (
            BucketMap(*limits.key, MAX_BUCKETS),
            BucketMap(*limits.tenant, MAX_BUCKETS),
        )
        self._are_signatures_shared = limits.are_signatures_shared
        self.refusals: Counter[str] = Counter()
        self._refusal_log = RefusalLog()
        self.challenges = challenges or ChallengeIssuer()
        repository = CosignerKeyRepository(store, vault, kek, self.challenges)
        life = KeyLifecycleHandler(repository)
        self.imports = SealedImportHandler(life)
        self.reading = ReadingHandler(repository, limits.reading)
        self._handlers = _handlers(repository, life, limits, policy) | {
            messages.ChallengeRequest: self._challenge,
            messages.EncryptionKeyRequest: self.imports.which,
            messages.ImportSealedHalfRequest: self.imports.adopt,
            messages.OpenReadingRequest: self.reading.open,
            messages.ReadRequest: self.reading.read,
            messages.EndReadingRequest: self.reading.end,
        }
        store.on_commit = self.reading.noticed
        self.clock = CosignerClock(repository, self.reading)

    async def answer(self, request: CosignerRequest, peer: str) -> AnyReply:
        """The reply to one request of ``peer`` (how the log names it); a refusal is a reply."""
        try:
            self._limit(request)
            self._require_own_signature(request)
            return await self._handlers[type(request)](request, peer)
        except CosignerRefusalError as refusal:
            return await self._refused(request, peer, refusal.code)
        except CryptoError:
            return await self._refused(request, peer, RefusalCode.MALFORMED)
        except (KekUnavailable, KeyDamaged) as error:
            logger.error("a half cannot be opened: %s", error.code)
            return await self._refused(request, peer, RefusalCode.UNAVAILABLE)
        finally:
            asked = getattr(request, "asked", None)
            if asked is not None:
                wipe_bytes(asked.conversation_key)

    async def _challenge(self, request: messages.ChallengeRequest, peer: str) -> AnyReply:
        return messages.ChallengeReply(request.number, *self.challenges.current())

    def _limit(self, request: CosignerRequest) -> None:
        # The tenant's comes first: made-up key ids cannot push out more of the keys' buckets than that allows.
        if not self._tenant_limit.of(request.tenant).take():
            raise CosignerRefusalError(RefusalCode.RATE_LIMITED)
        # Its grant bounds these: an inbox that is read one by one is not a flood.
        if isinstance(request, messages.ReadRequest) and self.reading.is_open_for(request):
            return
        if not self._key_limit.of(request.key).take():
            raise CosignerRefusalError(RefusalCode.RATE_LIMITED)

    def _require_own_signature(self, request: CosignerRequest) -> None:
        """Uses may share one, where the operator lets them; a change of a key is authorised by itself."""
        grant = getattr(request, "grant", None)
        if grant is None or not grant.path:
            return
        is_use = isinstance(request, messages.PartialSignatureRequest | messages.EcdhRequest)
        if not (is_use and self._are_signatures_shared):
            raise CosignerRefusalError(RefusalCode.UNAUTHORISED)

    async def _refused(self, request: CosignerRequest, peer: str, code: RefusalCode) -> AnyReply:
        self.refusals[code] += 1
        self._on_refusal()
        row = self._refusal_log.row(request, peer, code)
        if row is not None:
            try:
                await self._store.write(lambda writing: writing.note(row))
            except CosignerRefusalError:
                code = RefusalCode.UNAVAILABLE  # what cannot be recorded is not told either
        return messages.CosignerRefusedReply(request.number, code.value)


def _handlers(
    repository: CosignerKeyRepository, life: KeyLifecycleHandler, limits: CosignerLimits, policy: AuthoriserPolicy
) -> dict[type, Callable[[Any, str], Awaitable[AnyReply]]]:
    """Which room does what."""
    apps = AppHandler(repository)
    ending, using, renewing, authorisers = (
        ForgettingHandler(repository, limits.forgetting),
        KeyUseHandler(repository, apps),
        RefreshHandler(repository),
        AuthoriserHandler(repository, policy),
    )
    log = LogHandler(repository, repository.store.path)
    return {
        messages.KeyLogRequest: log.entries,
        messages.PingRequest: _ping,
        messages.CreateHalfRequest: life.create,
        messages.ImportHalfRequest: life.adopt,
        messages.KeyStateRequest: life.state,
        messages.StopKeyRequest: life.stop,
        messages.EnableKeyRequest: life.enable,
        messages.ForgetKeyRequest: ending.forget,
        messages.KeepKeyRequest: ending.keep,
        messages.WithdrawHalfRequest: ending.withdraw,
        messages.PartialSignatureRequest: using.sign,
        messages.EcdhRequest: using.ecdh,
        messages.AdmitAppRequest: apps.admit,
        messages.EndAppRequest: apps.end,
        messages.PrepareRefreshRequest: renewing.prepare,
        messages.CommitRefreshRequest: renewing.commit,
        messages.FinishRefreshRequest: renewing.finish,
        messages.RegisterAuthoriserRequest: authorisers.register,
        messages.AuthorisersRequest: authorisers.which,
        messages.AddAuthoriserRequest: authorisers.succeed,
        messages.RefuseAuthoriserRequest: authorisers.refuse,
        messages.SettleAuthoriserRequest: authorisers.settle,
    }


async def _ping(request: messages.PingRequest, peer: str) -> AnyReply:
    return messages.CosignerDoneReply(request.number)
