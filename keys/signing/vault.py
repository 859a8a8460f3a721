"""Opens sealed keys, checks that each is the key its row names, and keeps it for the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from keycast.crypto import aead
from keycast.crypto.errors import CryptoError
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KeyDamaged, KeyMismatch
from keys.refs import SealedSecret
from keys.signing import envelope
from keys.signing.cache import LeasedCache
from keys.signing.envelope import SealingContext
from keys.signing.kms.protocol import KekProvider
from keys.signing.opened_key import OpenKey

V = TypeVar("V", bound=OpenKey)
_ZERO_KEY: Final = SecretBytes.zero(aead.KEY_SIZE)
_ZERO_BLOB: Final = aead.seal(_ZERO_KEY, bytes(envelope.SECRET_SIZE), b"")


class OpenKeyVault(Generic[V]):
    """Open keys of one kind, by row id. ``make`` turns a keypair and its tenant into what is kept.

    ``providers`` finds a key-encryption key provider by name. A provider that blocks is called from a thread, once
    for all who wait for the same key.
    """

    def __init__(
        self,
        make: Callable[[Keypair, UUID], V],
        providers: Callable[[str], KekProvider],
        cache: LeasedCache[UUID, V],
    ) -> None:
        self._make = make
        self._providers = providers
        self._cache = cache
        self._opening: dict[tuple[int, SealingContext, bytes], asyncio.Task[V]] = {}

    def cached(self, row_id: UUID, tenant_id: UUID, public_key: str) -> V | None:
        """The key if it is open, and only if it is the one that the caller's row names."""
        opened = self._cache.get(row_id)
        # Compared although the id was found: what the caller read from its row decides, never what happens to be open.
        if opened is None or opened.public_key != public_key or opened.tenant_id != tenant_id:
            return None
        return opened

    async def open(self, sealed: SealedSecret, place: SealingContext) -> V:
        """The open key. One with ``is_kept`` False belongs to the caller, who wipes it after use.

        Raises KeyDamaged (KeyMismatch when it opens to another public key) and KekUnavailable.
        """
        provider = self._providers(sealed.provider)
        if not provider.blocking:
            return self.open_now(sealed, place, provider)

        def opening() -> Coroutine[Any, Any, V]:
            return asyncio.to_thread(self.open_now, sealed, place, provider)

        return await (self._in_flight(opening, sealed, place) if self._cache.keeps else opening())

    def open_now(self, sealed: SealedSecret, place: SealingContext, provider: KekProvider) -> V:
        """Like ``open``, on this thread, however long the provider takes."""
        # Before the key is opened: if it is forgotten while it is, the cache does not take it.
        ticket = self._cache.ticket(place.row_id)
        try:
            keypair = unlock(sealed, place, provider)
        except KeyDamaged:
            self._cache.forget(place.row_id)  # what was opened before the damage is not to be trusted longer
            raise
        return self._keep(keypair, place, ticket)

    def forget(self, row_id: UUID) -> None:
        """Wipe one key now."""
        self._cache.forget(row_id)

    def forget_all(self) -> None:
        """Wipe every key now."""
        self._cache.forget_all()

    def _keep(self, keypair: Keypair, place: SealingContext, ticket: tuple[int, int]) -> V:
        opened = self._make(keypair, place.tenant_id)
        opened.is_kept = self._cache.put(place.row_id, opened, ticket)
        return opened

    async def _in_flight(
        self, opening: Callable[[], Coroutine[Any, Any, V]], sealed: SealedSecret, place: SealingContext
    ) -> V:
        """One opening for all who wait for the same key."""
        # By loop, for a task belongs to one; by blob, so that nobody gets what the row held before it was sealed anew.
        flight = (id(asyncio.get_running_loop()), place, sealed.blob)
        task = self._opening.get(flight)
        if task is None:
            task = asyncio.create_task(opening())
            self._opening[flight] = task
            task.add_done_callback(lambda done: self._landed(flight, done))
        # One who is cancelled must not end the opening for the others who wait for it.
        return await asyncio.shield(task)

    def _landed(self, flight: tuple[int, SealingContext, bytes], task: asyncio.Task[V]) -> None:
        del self._opening[flight]
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is told of it when every waiter has gone


def _overwrite_registers() -> None:
    """Decrypt zeros, so that the vector registers no longer hold the end of the secret.

    OpenSSL's AES-GCM leaves its last plaintext block in them; a thread that starts next inherits them and may spill
    them to its stack, where they stay (seen in a process's memory; tests/keys/test_memory.py looks for it).
    """
    aead.open_into(_ZERO_KEY, _ZERO_BLOB, b"").wipe()


def unlock(sealed: SealedSecret, place: SealingContext, provider: KekProvider) -> Keypair:
    """The keypair of a sealed secret, if its public key, derived again, is the one of ``place`` (threats K5)."""
    with envelope.unseal(sealed, place, provider) as secret:
        return _checked(secret, place)


def opened(sealed: SealedSecret, place: SealingContext, provider: KekProvider) -> SecretBytes:
    """The secret itself, checked as by ``unlock``; the caller wipes it."""
    secret = envelope.unseal(sealed, place, provider)
    try:
        _checked(secret, place).wipe()
    except KeyDamaged:
        secret.wipe()
        raise
    return secret


def _checked(secret: SecretBytes, place: SealingContext) -> Keypair:
    try:
        keypair = Keypair.from_secret(secret)
    except CryptoError:
        raise KeyDamaged from None
    _overwrite_registers()
    if keypair.public_key_hex != place.public_key:
        keypair.wipe()
        raise KeyMismatch
    return keypair
