"""What every room of the co-signer works with: its keys as they are on disk, open halves, and its audit log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID

from keycast.crypto import authoriser_keys
from keycast.crypto.schnorr import Keypair, is_public_key
from keycast.crypto.secret import SecretBytes
from keys.cosigner import records
from keys.cosigner.audit import CosignerAuditEntry
from keys.cosigner.challenges import ChallengeIssuer
from keys.cosigner.open_readings import OpenReadings
from keys.cosigner.records import CosignerHalf, CosignerKeyRecord
from keys.cosigner.store import CosignerRefusalError, CosignerStore, StoreTransaction
from keys.refs import SealedSecret
from keys.signing import envelope
from keys.signing.cosigning import authorisation, authorisation_tree
from keys.signing.cosigning.authorisation import AuthorisationPurpose, UseAuthorisation
from keys.signing.cosigning.messages import CosignerRequest, RefusalCode
from keys.signing.kms.protocol import KekProvider
from keys.signing.opened_key import OpenKey
from keys.signing.vault import OpenKeyVault

_RECORDS_KEPT: Final = 65_536
_ROOTS_KEPT: Final = 1024
_verified_roots: set[tuple[bytes, bytes, bytes]] = set()


class CosignerKeyRepository:
    """Used from one event loop; the store's thread does the waiting for the disk."""

    def __init__(
        self,
        store: CosignerStore,
        vault: OpenKeyVault[OpenKey],
        kek: Callable[[], KekProvider],
        challenges: ChallengeIssuer,
    ) -> None:
        self.store, self._vault, self._kek, self._challenges = store, vault, kek, challenges
        self._records: OrderedDict[bytes, CosignerKeyRecord] = OrderedDict()
        self.readings = OpenReadings(challenges.clock)

    async def find(self, request: CosignerRequest) -> CosignerKeyRecord | None:
        """The key that a request names, in any state. Raises Refusal for another tenant's."""
        record = self._records.get(request.key)
        if record is None:
            record = await self.store.write(lambda writing: records.load(writing, UUID(bytes=request.key)))
            self.keep(record)
        # Said of another tenant's key as of one that does not exist.
        if record is not None and record.tenant_id.bytes != request.tenant:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        return record

    async def stored(self, key_id: UUID) -> CosignerKeyRecord:
        """The key as it is on disk. Raises Refusal."""
        record = await self.store.write(lambda writing: records.load(writing, key_id))
        if record is None:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        return record

    def drop_forgetting(self) -> None:
        """Read keys that wait for their end from disk again when they are next asked for."""
        for key in [key for key, record in self._records.items() if record.state == records.FORGETTING]:
            del self._records[key]

    async def known(self, request: CosignerRequest) -> CosignerKeyRecord:
        """A key that has halves. Raises Refusal."""
        record = await self.find(request)
        if record is None or record.state == records.FORGOTTEN:
            raise CosignerRefusalError(RefusalCode.UNKNOWN_KEY)
        return record

    async def in_use(self, request: CosignerRequest) -> CosignerKeyRecord:
        """A key that may be used, and has an authoriser. Raises Refusal."""
        record = await self.known(request)
        if record.state == records.LOCKED:
            raise CosignerRefusalError(RefusalCode.KEY_LOCKED)
        if record.state != records.ACTIVE or record.authoriser is None:
            raise CosignerRefusalError(RefusalCode.KEY_UNAVAILABLE)
        return record

    async def in_use_again(self, record: CosignerKeyRecord) -> CosignerKeyRecord:
        """The same key as it is now, after a wait for the disk. Raises Refusal."""
        return await self.in_use(CosignerRequest(0, record.tenant_id.bytes, record.key_id.bytes))

    def keep(self, record: CosignerKeyRecord | None) -> None:
        """Remember how the key is on disk now."""
        if record is None:
            return
        if len(self._records) >= _RECORDS_KEPT:
            self._records.popitem(last=False)
        self._records[record.key_id.bytes] = record

    async def change(
        self, record: CosignerKeyRecord, note: CosignerAuditEntry, change: Callable[[StoreTransaction], None]
    ) -> CosignerKeyRecord:
        """Change a key together with its audit row; everything open of it is wiped, its reading grants are over."""

        def work(writing: StoreTransaction) -> CosignerKeyRecord:
            change(writing)
            writing.note(note)
            writing.notes.extend(ended)
            changed = records.load(writing, record.key_id)
            assert changed is not None  # noqa: S101 -- rows are never deleted
            return changed

        # Before the write, not after: a request that comes meanwhile has to read the key through the same queue,
        # behind this change.
        self._records.pop(record.key_id.bytes, None)
        for half in record.halves.values():
            self._vault.forget(half.place.row_id)
        # Whatever the change is: a grant was given for the key as it was.
        over = self.readings.remove_all_of(record.key_id.bytes)
        ended = [reading.ended_row(note.peer, "changed") for reading in over]
        try:
            changed = await self.store.write(work)
        except CosignerRefusalError:
            if ended:
                await self.store.write(lambda writing: writing.notes.extend(ended))
            raise
        self.keep(changed)
        return changed

    async def record(self, note: CosignerAuditEntry) -> None:
        """Have a row of the log on disk."""
        await self.store.write(lambda writing: writing.note(note))

    def use_up(
        self, record: CosignerKeyRecord, purpose: AuthorisationPurpose, subject: bytes, grant: UseAuthorisation
    ) -> bytes:
        """Take an authorisation for this use, once; its digest. Raises Refusal unless the key's HSM signed it."""
        named = (record.tenant_id, record.key_id, subject, grant.challenge, grant.salt)
        digest = authorisation.digest(purpose, *named)
        try:
            signed = authorisation_tree.signed_digest(digest, grant.path)
        except ValueError:
            raise CosignerRefusalError(RefusalCode.MALFORMED) from None
        # Two may have signed, while one takes the other's place.
        if not any(_is_signed(authoriser, signed, grant) for authoriser in record.authorisers):
            raise CosignerRefusalError(RefusalCode.UNAUTHORISED)
        # Without a wait since the signature was looked at, and before any: of two that come at once one is refused.
        self._challenges.use_up(grant.challenge, digest)
        return digest

    def sealed(
        self,
        request: CosignerRequest,
        half_a: bytes,
        half_b: bytes,
        secret: SecretBytes,
        status: str,
        tweak: bytes | None,
    ) -> CosignerHalf:
        """A half as it goes to disk. Raises Refusal for a half A that is no point."""
        if not is_public_key(half_a):
            raise CosignerRefusalError(RefusalCode.MALFORMED)
        tenant_id, key_id = UUID(bytes=request.tenant), UUID(bytes=request.key)
        sealed = envelope.seal(secret, records.sealing_context_of(tenant_id, key_id, half_b), self._kek())
        kept = SealedSecret(records.KEK_PROVIDER, sealed.kek_version, sealed.blob)
        return CosignerHalf(key_id, tenant_id, half_a, half_b, status, tweak, kept)

    async def open(self, half: CosignerHalf) -> tuple[Keypair, bool]:
        """The half's keypair, and whether the vault keeps it; give both to ``wipe_unless_kept``."""
        opened = self._vault.cached(half.place.row_id, half.tenant_id, half.half_b.hex())
        if opened is None or opened.keypair.is_wiped:
            opened = await self._vault.open(half.sealed, half.place)
        return opened.keypair, opened.is_kept


def wipe_unless_kept(keypair: Keypair, kept: bool) -> None:
    """Wipe a keypair that nobody keeps."""
    if not kept:
        keypair.wipe()


def _is_signed(authoriser: bytes, signed: bytes, grant: UseAuthorisation) -> bool:
    """Whether this HSM key has signed; a root that several authorisations share is verified once."""
    if not grant.path:
        return authoriser_keys.verify(authoriser, signed, grant.signature)
    named = authoriser, signed, grant.signature
    if named in _verified_roots:
        return True
    if not authoriser_keys.verify(*named):
        return False
    if len(_verified_roots) >= _ROOTS_KEPT:
        _verified_roots.clear()
    _verified_roots.add(named)
    return True
