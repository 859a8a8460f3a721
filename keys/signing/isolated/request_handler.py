"""What the signer does with each request. No database, no policy: whoever may talk to it is trusted to have decided.

Everything that is opened is bound to the tenant, row, public key and purpose of the request (keys.signing.envelope),
the event's id is computed again here, and every signature is verified before it leaves.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes, wipe_bytes
from keycast.nostr.types import is_hex
from keys.errors import InvalidOperand, KeyDamaged
from keys.signing import exporting, factory, inspection, transport
from keys.signing.isolated import messages
from keys.signing.isolated.errors import SignerBusy, SignerFailed, name_of
from keys.signing.isolated.messages import AnyReply, AnyRequest, SignerDoneReply, SignerRefusedReply
from keys.signing.kms import registry
from keys.signing.protocol import KeyMaker
from keys.signing.service import SigningService
from keys.signing.vault import opened
from keys.signing.wire.frames import MAX_FRAME

logger = logging.getLogger(__name__)
_ROOM: Final = 64


class SignerRequestHandler:
    """Answers requests. Used from one event loop; what may wait for a key-encryption key goes to a thread."""

    def __init__(self, service: SigningService, maker: KeyMaker, *, is_locked: bool = False) -> None:
        self._service, self._maker, self._is_locked = service, maker, is_locked
        self._handlers: dict[type, Callable[[Any], Awaitable[AnyReply]]] = {
            messages.StatusRequest: self._status,
            messages.SignEventRequest: self._sign,
            messages.CipherRequest: self._use,
            messages.OpenTransportKeyRequest: self._open_transport,
            messages.ForgetOpenKeysRequest: self._forget,
            messages.CheckKeyRequest: self._check_key,
            messages.CheckTransportKeyRequest: self._check_transport,
            messages.ExportKeyRequest: self._export,
            **{kind: partial(self._make, work) for kind, work in _MAKING.items()},
        }

    async def answer(self, request: AnyRequest) -> AnyReply:
        """The reply to one request; a refusal is a reply. Never raises."""
        try:
            return await self._handlers[type(request)](request)
        except KeycastError as error:
            return refusal(request.number, error)
        except Exception as error:  # loop top (request): nothing of it may end up in a traceback
            logger.error("a request failed", extra={"error": type(error).__name__, "asked": type(request).__name__})
            return refusal(request.number, SignerFailed())
        finally:
            asked = getattr(request, "asked", None)
            if asked is not None:
                wipe_bytes(asked.request.conversation_key)

    async def _status(self, request: messages.StatusRequest) -> AnyReply:
        modes = tuple(factory.name_of(served) for served in self._service.served)
        return messages.StatusReply(
            request.number, os.getpid(), factory.kek_problem(), settings.KEK_PROVIDER, modes, self._is_locked
        )

    async def _sign(self, request: messages.SignEventRequest) -> AnyReply:
        _require_sound(request.key.public_key)
        signed = await self._service.sign_event(request.key, messages.event_of(request.event), request.asked)
        if signed.id != request.event_id.hex():
            raise InvalidOperand
        return messages.SignatureReply(request.number, bytes.fromhex(signed.sig))

    async def _use(self, request: messages.CipherRequest) -> AnyReply:
        _require_sound(request.key.public_key)
        text = await self._service.crypt(
            request.key, request.method, request.peer, request.text, request.client, request.asked
        )
        if len(text) > MAX_FRAME - _ROOM:
            raise InvalidOperand
        return messages.CipherReply(request.number, text)

    async def _open_transport(self, request: messages.OpenTransportKeyRequest) -> AnyReply:
        _require_sound(request.ref.public_key)
        sealed, place = request.ref.sealed, transport.sealing_context_of(request.ref)
        provider = registry.provider(sealed.provider)
        opening = partial(opened, sealed, place, provider)
        with await asyncio.to_thread(opening) if provider.blocking else opening() as secret:
            return messages.OpenedTransportKeyReply(request.number, bytes(secret.view()))

    async def _forget(self, request: messages.ForgetOpenKeysRequest) -> AnyReply:
        if request.key is None:
            self._service.forget_all()
        else:
            self._service.forget(request.key)
        return SignerDoneReply(request.number)

    async def _check_key(self, request: messages.CheckKeyRequest) -> AnyReply:
        _require_sound(request.key.public_key)
        await asyncio.to_thread(inspection.check_personal, request.key)
        return SignerDoneReply(request.number)

    async def _check_transport(self, request: messages.CheckTransportKeyRequest) -> AnyReply:
        _require_sound(request.ref.public_key)
        await asyncio.to_thread(inspection.check_transport, request.ref)
        return SignerDoneReply(request.number)

    async def _export(self, request: messages.ExportKeyRequest) -> AnyReply:
        _require_sound(request.key.public_key)
        ncryptsec = await asyncio.to_thread(exporting.export_here, request.key, request.password)
        logger.warning("key %s was exported under a password", request.key.key_id)
        return messages.ExportedKeyReply(request.number, ncryptsec)

    async def _make(self, work: Callable[[KeyMaker, Any], AnyReply], request: Any) -> AnyReply:
        try:
            return await asyncio.to_thread(work, self._maker, request)
        finally:
            if isinstance(secret := getattr(request, "secret", None), bytes):
                wipe_bytes(secret)


def refusal(number: int, error: KeycastError) -> SignerRefusedReply:
    """An error as it crosses the socket."""
    return SignerRefusedReply(number, name_of(error), error.code, error.public_message)


def busy(number: int) -> SignerRefusedReply:
    """One request too many."""
    return refusal(number, SignerBusy())


async def note_damage(key_id: UUID, damage: KeyDamaged) -> None:
    """The signer logs it; whoever asked records it and acts (keys.lifecycle.damage)."""
    logger.critical("stored key material failed its check", extra={"key_id": str(key_id), "code": damage.code})


def _require_sound(public_key: str) -> None:
    if not is_hex(public_key, 32):
        raise KeyDamaged


def _generate(maker: KeyMaker, asked: messages.GenerateKeyRequest) -> AnyReply:
    made = maker.generate(tenant_id=asked.tenant, row_id=asked.row, parent_id=asked.parent, purpose=asked.purpose)
    return messages.NewKeyReply(asked.number, made.public_key, made.sealed)


def _adopt(maker: KeyMaker, asked: messages.ImportKeyRequest) -> AnyReply:
    with SecretBytes(asked.secret) as secret:
        made = maker.adopt(secret, tenant_id=asked.tenant, row_id=asked.row, purpose=asked.purpose)
    return messages.NewKeyReply(asked.number, made.public_key, made.sealed)


def _rewrap(maker: KeyMaker, asked: messages.RewrapRequest) -> AnyReply:
    return messages.SealedSecretReply(asked.number, maker.rewrap(asked.sealed, asked.place))


def _split(maker: KeyMaker, asked: messages.SplitKeyRequest) -> AnyReply:
    return messages.SplitKeyReply(asked.number, maker.split(asked.sealed, asked.place))


def _split_secret(maker: KeyMaker, asked: messages.SplitImportedKeyRequest) -> AnyReply:
    with SecretBytes(asked.secret) as secret:
        return messages.SplitKeyReply(
            asked.number, maker.split_secret(secret, tenant_id=asked.tenant, key_id=asked.key)
        )


def _hand_over(maker: KeyMaker, asked: messages.HandOverHalfRequest) -> AnyReply:
    maker.hand_over(asked.split, tenant_id=asked.tenant, key_id=asked.key, public_key=asked.public_key.hex())
    return SignerDoneReply(asked.number)


def _draw_half(maker: KeyMaker, asked: messages.DrawHalfRequest) -> AnyReply:
    return messages.SealedHalfReply(asked.number, maker.draw_half(tenant_id=asked.tenant, key_id=asked.key))


def _draw_page_key(maker: KeyMaker, asked: messages.DrawPageKeyRequest) -> AnyReply:
    return messages.PageKeyReply(asked.number, maker.draw_page_key(tenant_id=asked.tenant, key_id=asked.key))


def _take_half(maker: KeyMaker, asked: messages.TakeSealedHalfRequest) -> AnyReply:
    return messages.SealedHalfReply(asked.number, maker.take_half(asked.halves))


def _agree(maker: KeyMaker, asked: messages.AgreeRefreshRequest) -> AnyReply:
    _require_sound(asked.key.public_key)
    half_b, tweak = maker.agree(asked.key, asked.new, asked.grant)
    return messages.AgreeRefreshReply(asked.number, half_b, tweak)


def _kek(maker: KeyMaker, asked: messages.KekVersionsRequest) -> AnyReply:
    found = maker.kek_state(asked.tenant, asked.provider)
    return messages.KekVersionsReply(asked.number, found.provider, found.current)


_MAKING: Final[dict[type, Callable[[KeyMaker, Any], AnyReply]]] = {
    messages.GenerateKeyRequest: _generate,
    messages.ImportKeyRequest: _adopt,
    messages.RewrapRequest: _rewrap,
    messages.SplitKeyRequest: _split,
    messages.SplitImportedKeyRequest: _split_secret,
    messages.HandOverHalfRequest: _hand_over,
    messages.DrawHalfRequest: _draw_half,
    messages.DrawPageKeyRequest: _draw_page_key,
    messages.TakeSealedHalfRequest: _take_half,
    messages.AgreeRefreshRequest: _agree,
    messages.KekVersionsRequest: _kek,
}
