"""Signer B. It checks everything itself and trusts neither signer A nor whoever controls it.

Each request: the key is this tenant's and in use, the limits allow it, the event is what its id says, and the user's
own HSM key has signed for exactly this. Only then, and only when the audit row is on disk, is the half used.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from keycast.audit.tags import Outcome
from keycast.crypto import ecdsa, musig, split
from keycast.crypto.errors import CryptoError
from keycast.crypto.musig import KeyAggregate, Session
from keycast.crypto.points import even_half, parsed, public_point
from keycast.crypto.schnorr import Keypair, is_public_key
from keycast.crypto.secret import SecretBytes
from keycast.nostr.events import EventError, id_bytes
from keys.cosigning import authorisation, crash, messages, records
from keys.cosigning.audit import Note, Tag
from keys.cosigning.authorisation import Grant, Purpose
from keys.cosigning.limits import Buckets
from keys.cosigning.messages import AnyReply, Code, Request
from keys.cosigning.records import Half, Record
from keys.cosigning.store import Refusal, Store, Writing
from keys.errors import KekUnavailable, KeyDamaged
from keys.kms.protocol import KekProvider
from keys.refs import SealedSecret
from keys.signing import envelope
from keys.signing.opened import OpenKey
from keys.signing.vault import Vault

logger = logging.getLogger(__name__)
_RECORDS_KEPT: Final = 65_536


@dataclass(frozen=True)
class Limits:
    """Requests a second, and how many at once: for one key, and for one tenant."""

    key: tuple[float, float] = (50, 200)
    tenant: tuple[float, float] = (1000, 2000)


class Cosigner:
    """Answers requests. Used from one event loop; the store's thread does the waiting for the disk."""

    def __init__(self, store: Store, vault: Vault[OpenKey], kek: Callable[[], KekProvider], limits: Limits) -> None:
        self._store, self._vault, self._kek = store, vault, kek
        self._key_limit, self._tenant_limit = Buckets(*limits.key), Buckets(*limits.tenant)
        self._records: dict[bytes, Record] = {}
        self.refusals: Counter[str] = Counter()
        self._handlers: dict[type, Callable[[Any, str], Awaitable[AnyReply]]] = {
            messages.Ping: self._ping,
            messages.Create: self._create,
            messages.Adopt: self._adopt,
            messages.Register: self._register,
            messages.Sign: self._sign,
            messages.Ecdh: self._ecdh,
            messages.Prepare: self._prepare,
            messages.Commit: self._commit,
            messages.Finish: self._finish,
            messages.State: self._state,
            messages.Stop: self._stop,
            messages.Enable: self._enable,
            messages.Forget: self._forget,
        }

    async def answer(self, request: Request, peer: str) -> AnyReply:
        """The reply to one request of ``peer`` (how the log names it); a refusal is a reply."""
        try:
            self._limit(request)
            return await self._handlers[type(request)](request, peer)
        except Refusal as refusal:
            return await self._refused(request, peer, refusal.code)
        except CryptoError:
            return await self._refused(request, peer, Code.MALFORMED)
        except (KekUnavailable, KeyDamaged) as error:
            logger.error("a half cannot be opened: %s", error.code)
            return await self._refused(request, peer, Code.UNAVAILABLE)

    def _limit(self, request: Request) -> None:
        if not (self._tenant_limit.take(request.tenant) and self._key_limit.take(request.key)):
            raise Refusal(Code.RATE_LIMITED)

    async def _refused(self, request: Request, peer: str, code: Code) -> AnyReply:
        self.refusals[code] += 1
        if code not in {Code.RATE_LIMITED, Code.BUSY, Code.UNAVAILABLE}:
            asked = type(request).__struct_config__.tag
            note = Note(
                Tag.REFUSED, Outcome.DENIED, peer, request.key.hex(), data={"reason": code.value, "request": asked}
            )
            try:
                await self._store.write(lambda writing: writing.note(note))
            except Refusal:
                code = Code.UNAVAILABLE  # what cannot be recorded is not told either
        return messages.Refused(request.number, code.value)

    # --- looking at keys

    async def _find(self, request: Request) -> Record | None:
        record = self._records.get(request.key)
        if record is None:
            record = await self._store.write(lambda writing: records.load(writing, UUID(bytes=request.key)))
            self._keep(record)
        if record is not None and record.tenant_id.bytes != request.tenant:
            raise Refusal(Code.UNKNOWN_KEY)
        return record

    async def _known(self, request: Request) -> Record:
        record = await self._find(request)
        if record is None or record.state == records.FORGOTTEN:
            raise Refusal(Code.UNKNOWN_KEY)
        return record

    async def _in_use(self, request: Request) -> tuple[Record, bytes]:
        """A key that may be used, and its authoriser."""
        record = await self._known(request)
        if record.state == records.LOCKED:
            raise Refusal(Code.KEY_LOCKED)
        if record.state != records.ACTIVE or record.authoriser is None:
            raise Refusal(Code.KEY_UNAVAILABLE)
        return record, record.authoriser

    def _keep(self, record: Record | None) -> None:
        if record is None:
            return
        if len(self._records) >= _RECORDS_KEPT:
            self._records.pop(next(iter(self._records)))
        self._records[record.key_id.bytes] = record

    async def _change(self, record: Record, note: Note, change: Callable[[Writing], None]) -> Record:
        """Change a key together with its audit row; everything open of it is wiped."""

        def work(writing: Writing) -> Record:
            change(writing)
            writing.note(note)
            changed = records.load(writing, record.key_id)
            assert changed is not None  # noqa: S101 -- rows are never deleted
            return changed

        self._records.pop(record.key_id.bytes, None)
        for half in record.halves.values():
            self._vault.forget(half.place.row_id)
        changed = await self._store.write(work)
        self._keep(changed)
        return changed

    # --- making keys

    async def _ping(self, request: messages.Ping, peer: str) -> AnyReply:
        return messages.Done(request.number)

    async def _create(self, request: messages.Create, peer: str) -> AnyReply:
        known = await self._find(request)
        if known is not None:
            return messages.Made(request.number, _same(known, request.half_a).half_b)
        keypair, secret = even_half()
        with keypair, secret:
            half = self._sealed(request, request.half_a, keypair.public_key, secret, records.CURRENT, None)
        await self._add(half, half.aggregate.public_key, Tag.CREATED, peer)
        crash.point("b-created")
        return messages.Made(request.number, half.half_b)

    async def _adopt(self, request: messages.Adopt, peer: str) -> AnyReply:
        with SecretBytes.adopt_bytes(request.secret) as secret, Keypair.from_secret(secret) as keypair:
            half_b = keypair.public_key
            aggregate = KeyAggregate(b"\x02" + request.half_a, public_point(keypair), request.tweak)
            if aggregate.keys["B"][0] != 2 or aggregate.public_key != request.public_key:
                raise Refusal(Code.MALFORMED)
            known = await self._find(request)
            if known is not None:
                same = _same(known, request.half_a)
                if (same.half_b, same.tweak) != (half_b, request.tweak):
                    raise Refusal(Code.KEY_EXISTS)
                return messages.Made(request.number, half_b)
            half = self._sealed(request, request.half_a, half_b, secret, records.CURRENT, request.tweak)
        await self._add(half, request.public_key, Tag.ADOPTED, peer)
        crash.point("b-adopted")
        return messages.Made(request.number, half_b)

    async def _add(self, half: Half, public_key: bytes, tag: Tag, peer: str) -> None:
        note = Note(tag, Outcome.OK, peer, half.key_id.hex, data={"public_key": public_key.hex()})

        def work(writing: Writing) -> Record | None:
            records.add_key(writing, half, public_key, authorisation.now())
            writing.note(note)
            return records.load(writing, half.key_id)

        self._keep(await self._store.write(work))

    def _sealed(
        self, request: Request, half_a: bytes, half_b: bytes, secret: SecretBytes, status: str, tweak: bytes | None
    ) -> Half:
        if not is_public_key(half_a):
            raise Refusal(Code.MALFORMED)
        tenant_id, key_id = UUID(bytes=request.tenant), UUID(bytes=request.key)
        sealed = envelope.seal(secret, records.place_of(tenant_id, key_id, half_b), self._kek())
        return Half(key_id, tenant_id, half_a, half_b, status, tweak, SealedSecret(*_parts(sealed)))

    async def _register(self, request: messages.Register, peer: str) -> AnyReply:
        record = await self._known(request)
        if record.authoriser is not None and record.authoriser != request.authoriser:
            raise Refusal(Code.KEY_EXISTS)  # signer A, taken over, must not put another in its place
        if record.authoriser is None:
            parsed(request.authoriser)  # or CryptoError: a point
            data = {"authoriser": request.authoriser.hex()}
            note = Note(Tag.AUTHORISER_REGISTERED, Outcome.OK, peer, record.key_id.hex, data=data)
            await self._change(record, note, lambda w: records.set_authoriser(w, record.key_id, request.authoriser))
        return messages.Done(request.number)

    # --- using keys

    async def _sign(self, request: messages.Sign, peer: str) -> AnyReply:
        record, authoriser = await self._in_use(request)
        half = record.usable(request.half_a)
        event_id = _event_id(request.event)
        if event_id != request.event_id or request.event.pubkey != record.public_key.hex():
            raise Refusal(Code.WRONG_EVENT)
        if not ecdsa.verify(authoriser, event_id, request.authorisation):
            raise Refusal(Code.UNAUTHORISED)
        musig.parsed_nonce(request.nonce_a)
        await self._store.write(lambda writing: _record_signing(writing, record, request, event_id, peer))
        half = (await self._in_use(request))[0].usable(request.half_a)  # as it is now, after waiting for the disk
        crash.point("b-before-sign")
        keypair, kept = await self._open(half)
        try:
            nonce, public = musig.make_nonce(keypair, half.aggregate, event_id)
            session = Session(half.aggregate, request.nonce_a, public, event_id)
            partial = musig.partial_sign(nonce, session)
        finally:
            _let_go(keypair, kept)
        crash.point("b-after-sign")
        return messages.Signed(request.number, public, partial)

    async def _ecdh(self, request: messages.Ecdh, peer: str) -> AnyReply:
        record, authoriser = await self._in_use(request)
        half = record.usable(request.half_a)
        if not is_public_key(request.peer):
            raise Refusal(Code.MALFORMED)
        digest = _granted(record, authoriser, Purpose.ECDH, request.peer, request.grant)
        note = Note(Tag.CONTRIBUTED, Outcome.OK, peer, record.key_id.hex, data={"peer": request.peer.hex()})
        await self._spend(digest, request.grant, note)
        half = (await self._in_use(request))[0].usable(request.half_a)
        keypair, kept = await self._open(half)
        try:
            with split.ecdh_contribution(keypair, half.aggregate, "B", request.peer) as point:
                return messages.Contribution(request.number, bytes(point.view()))
        finally:
            _let_go(keypair, kept)

    async def _spend(self, digest: bytes, grant: Grant, note: Note) -> None:
        def work(writing: Writing) -> None:
            records.use_once(writing, digest, grant.at + 2 * authorisation.EARLIEST, authorisation.now())
            writing.note(note)

        await self._store.write(work)

    async def _open(self, half: Half) -> tuple[Keypair, bool]:
        """The half's keypair, and whether the vault keeps it."""
        opened = self._vault.cached(half.place.row_id, half.tenant_id, half.half_b.hex())
        if opened is None or opened.keypair.is_wiped:
            opened = await self._vault.open(half.sealed, half.place)
        return opened.keypair, opened.is_kept

    # --- fresh halves

    async def _prepare(self, request: messages.Prepare, peer: str) -> AnyReply:
        record, authoriser = await self._in_use(request)
        old = record.current
        if request.half_a != old.half_a or request.new_half_a == old.half_a:
            raise Refusal(Code.STALE_HALF)
        digest = _granted(record, authoriser, Purpose.REFRESH, request.new_half_a, request.grant)
        note = Note(Tag.REFRESH_PREPARED, Outcome.OK, peer, record.key_id.hex)
        await self._spend(digest, request.grant, note)
        record, _ = await self._in_use(request)
        if record.current.half_a != old.half_a:
            raise Refusal(Code.STALE_HALF)
        coming = record.coming
        if coming is None or coming.half_a != request.new_half_a:
            if coming is not None and coming.status == records.READY:
                raise Refusal(Code.STALE_HALF)  # signer A may use it already
            coming = await self._drawn(record, request, note)
        crash.point("b-prepared")
        return await self._difference(request, old, coming)

    async def _drawn(self, record: Record, request: messages.Prepare, note: Note) -> Half:
        """A new half for a new half A. Never the same for two: two differences of one half would tell the old one."""
        keypair, secret = even_half()
        with keypair, secret:
            half = self._sealed(request, request.new_half_a, keypair.public_key, secret, records.PREPARED, None)

        def change(writing: Writing) -> None:
            records.drop_prepared(writing, record.key_id)
            records.add_half(writing, half)

        await self._change(record, note, change)
        return half

    async def _difference(self, request: messages.Prepare, old: Half, new: Half) -> AnyReply:
        untweaked = KeyAggregate(b"\x02" + new.half_a, b"\x02" + new.half_b)
        old_pair, old_kept = await self._open(old)
        new_pair, new_kept = await self._open(new)
        try:
            with split.refresh_difference(old_pair, old.aggregate, new_pair, untweaked, "B") as difference:
                return messages.Prepared(request.number, new.half_b, bytes(difference.view()))
        finally:
            _let_go(old_pair, old_kept)
            _let_go(new_pair, new_kept)

    async def _commit(self, request: messages.Commit, peer: str) -> AnyReply:
        record = await self._known(request)
        coming = record.coming
        if record.current.half_a == request.new_half_a and record.current.tweak == request.tweak:
            return messages.Done(request.number)
        if coming is None or coming.half_a != request.new_half_a:
            raise Refusal(Code.STALE_HALF)
        made = KeyAggregate(b"\x02" + coming.half_a, b"\x02" + coming.half_b, request.tweak)
        if made.public_key != record.public_key:
            raise Refusal(Code.MALFORMED)
        if coming.status == records.PREPARED:
            note = Note(Tag.REFRESH_COMMITTED, Outcome.OK, peer, record.key_id.hex)
            await self._change(
                record, note, lambda w: records.make_ready(w, record.key_id, request.new_half_a, request.tweak)
            )
        crash.point("b-committed")
        return messages.Done(request.number)

    async def _finish(self, request: messages.Finish, peer: str) -> AnyReply:
        record = await self._known(request)
        coming = record.coming
        if record.current.half_a != request.new_half_a:
            if coming is None or coming.half_a != request.new_half_a or coming.status != records.READY:
                raise Refusal(Code.STALE_HALF)
            note = Note(Tag.REFRESH_FINISHED, Outcome.OK, peer, record.key_id.hex)
            await self._change(record, note, lambda w: records.make_current(w, record.key_id, request.new_half_a))
        crash.point("b-finished")
        return messages.Done(request.number)

    # --- stopping keys

    async def _state(self, request: messages.State, peer: str) -> AnyReply:
        record = await self._find(request)
        if record is None:
            raise Refusal(Code.UNKNOWN_KEY)
        return messages.StateIs(request.number, record.state)

    async def _stop(self, request: messages.Stop, peer: str) -> AnyReply:
        record = await self._known(request)
        if request.state not in {records.LOCKED, records.DISABLED}:
            raise Refusal(Code.MALFORMED)
        if record.state != request.state:
            note = Note(Tag.STOPPED, Outcome.OK, peer, record.key_id.hex, data={"state": request.state})
            await self._change(record, note, lambda w: records.set_state(w, record.key_id, request.state))
        return messages.Done(request.number)

    async def _enable(self, request: messages.Enable, peer: str) -> AnyReply:
        record = await self._known(request)
        if record.authoriser is None:
            raise Refusal(Code.KEY_UNAVAILABLE)
        digest = _granted(record, record.authoriser, Purpose.ENABLE, record.public_key, request.grant)
        note = Note(Tag.ENABLED, Outcome.OK, peer, record.key_id.hex)

        def change(writing: Writing) -> None:
            records.use_once(writing, digest, request.grant.at + 2 * authorisation.EARLIEST, authorisation.now())
            records.set_state(writing, record.key_id, records.ACTIVE)

        await self._change(record, note, change)
        return messages.Done(request.number)

    async def _forget(self, request: messages.Forget, peer: str) -> AnyReply:
        record = await self._find(request)
        if record is not None and record.state != records.FORGOTTEN:
            note = Note(Tag.FORGOTTEN, Outcome.OK, peer, record.key_id.hex)
            await self._change(record, note, lambda w: records.forget(w, record.key_id))
        return messages.Done(request.number)


def _same(record: Record, half_a: bytes) -> Half:
    """A creation repeated because its reply was lost. Raises Refusal for anything else under a known id."""
    half = record.halves.get(half_a)
    if record.state != records.PENDING or half is None or half.status != records.CURRENT:
        raise Refusal(Code.KEY_EXISTS)
    return half


def _event_id(event: messages.EventBody) -> bytes:
    try:
        return id_bytes(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    except EventError:
        raise Refusal(Code.MALFORMED) from None


def _record_signing(writing: Writing, record: Record, request: messages.Sign, event_id: bytes, peer: str) -> None:
    count = records.count_signed(writing, event_id, authorisation.now())
    data = {"kind": request.event.kind, "time": count}
    writing.note(Note(Tag.SIGNED, Outcome.OK, peer, record.key_id.hex, event_id.hex(), data))


def _granted(record: Record, authoriser: bytes, purpose: Purpose, subject: bytes, grant: Grant) -> bytes:
    """The digest of a grant that is in its window and signed by the authoriser. Raises Refusal."""
    age = authorisation.now() - grant.at
    digest = authorisation.digest(purpose, record.tenant_id, record.key_id, subject, grant.at, grant.salt)
    if not -authorisation.LATEST <= age <= authorisation.EARLIEST:
        raise Refusal(Code.UNAUTHORISED)
    if not ecdsa.verify(authoriser, digest, grant.signature):
        raise Refusal(Code.UNAUTHORISED)
    return digest


def _let_go(keypair: Keypair, kept: bool) -> None:
    if not kept:
        keypair.wipe()


def _parts(sealed: SealedSecret) -> tuple[str, str, bytes]:
    return records.KEK_PROVIDER, sealed.kek_version, sealed.blob
