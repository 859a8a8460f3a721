"""The apps that were admitted to keys: told by signer A, kept, looked up at each use that an app asks for."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from keycast.audit.tags import AuditOutcome
from keys.cosigner import admissions
from keys.cosigner.admissions import AdmittedApp
from keys.cosigner.app_requests import OpenedAppRequest, UsedAppRequests, without_app
from keys.cosigner.audit import CosignerAuditEntry, CosignerAuditTag
from keys.cosigner.errors import CosignerRefusalError
from keys.cosigner.held_keys import CosignerKeyRepository
from keys.cosigner.records import CosignerKeyRecord
from keys.cosigner.store import StoreTransaction
from keys.signing.cosigning import authorisation, messages
from keys.signing.cosigning.messages import AnyReply, RefusalCode

_KEPT: Final = 65_536
_Place = tuple[bytes, bytes, bytes]


class AppHandler:
    """Used from one event loop."""

    def __init__(self, repository: CosignerKeyRepository) -> None:
        self._repository = repository
        self._used = UsedAppRequests(repository.store)
        self._known: dict[_Place, AdmittedApp] = {}

    async def admit(self, request: messages.AdmitAppRequest, peer: str) -> AnyReply:
        """Keep what an app may ask for. A row of the log, unless it is what was there, and held."""
        record, told, now = await self._repository.in_use(request), request.admission, authorisation.now()
        if told.proof:  # an owner's signature that nobody has verified must not be kept as if somebody had
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        place, app = (record.key_id.bytes, told.client, told.signer), AdmittedApp.of(told, now)

        def work(writing: StoreTransaction) -> None:
            before = admissions.find(writing.execute, record.key_id, told.client, told.signer)
            if before is None or not before.holds(now) or not before.grants_as(app):
                if admissions.count(writing.execute, record.key_id, now) >= admissions.MOST:
                    raise CosignerRefusalError(RefusalCode.BUSY)
                writing.note(_admitted(record.key_id, told, peer))
            admissions.keep(writing.execute, record.key_id, told.client, told.signer, app)

        known = await self._find(place)
        if known is None or not known.grants_as(app) or known.lapses_at - now < admissions.RENEWED_AFTER:
            self._known.pop(place, None)
            await self._repository.store.write(work)
            self._known.pop(place, None)
        return messages.CosignerDoneReply(request.number)

    async def end(self, request: messages.EndAppRequest, peer: str) -> AnyReply:
        """Forget what an app might ask for; also of a key that is stopped."""
        record = await self._repository.known(request)
        note = CosignerAuditEntry(
            CosignerAuditTag.APP_ENDED, AuditOutcome.OK, peer, record.key_id.hex, data={"app": request.client.hex()}
        )

        def work(writing: StoreTransaction) -> None:
            if admissions.end(writing.execute, record.key_id, request.client):
                writing.note(note)

        self._drop(record.key_id, request.client)
        await self._repository.store.write(work)
        self._drop(record.key_id, request.client)
        return messages.CosignerDoneReply(request.number)

    async def checked(
        self,
        record: CosignerKeyRecord,
        asked: messages.AppRequest | None,
        *,
        event: messages.EventBody | None = None,
        peer: bytes = b"",
    ) -> dict[str, Any]:
        """What the row of this use is to say of who asked for it. Raises Refusal unless that app did, and may.

        Counted when this returns, which it does without a wait after that.
        """
        if asked is None:
            return {"without": without_app(event)}
        opened = OpenedAppRequest.of(asked)
        if event is not None:
            opened.require_event(event)
        else:
            opened.require_peer(peer)
        kind = event.kind if event is not None else None
        await self._used.read(authorisation.now() // 1000)
        app = await self._find((record.key_id.bytes, opened.client, opened.signer))
        now = authorisation.now()
        if app is None or not app.holds(now) or not app.covers(opened.request.method, kind):
            raise CosignerRefusalError(RefusalCode.APP_NOT_ADMITTED)
        self._used.take(opened, now // 1000)
        return {"app": opened.client.hex(), "asked": opened.id.hex(), "asked_at": opened.created_at}

    async def _find(self, place: _Place) -> AdmittedApp | None:
        known = self._known.get(place)
        if known is None:
            key, client, signer = place
            known = await self._repository.store.write(
                lambda writing: admissions.find(writing.execute, UUID(bytes=key), client, signer)
            )
            if known is not None:
                if len(self._known) >= _KEPT:
                    self._known.pop(next(iter(self._known)))
                self._known[place] = known
        return known

    def _drop(self, key_id: UUID, client: bytes) -> None:
        for place in [place for place in self._known if place[0] == key_id.bytes and place[1] == client]:
            del self._known[place]


def _admitted(key_id: UUID, told: messages.AppAdmission, peer: str) -> CosignerAuditEntry:
    kinds = [f"{first}-{last}" if first != last else str(first) for first, last in told.kinds]
    shown = ",".join(kinds[:32]) + (",…" if len(kinds) > 32 else "")
    data = {
        "app": told.client.hex(),
        "signer": told.signer.hex(),
        "methods": ",".join(told.methods),
        "kinds": shown,
        "expires_at": told.expires_at,
        "by": admissions.BY_SERVICE,
    }
    return CosignerAuditEntry(CosignerAuditTag.APP_ADMITTED, AuditOutcome.OK, peer, key_id.hex, data=data)
