"""Makes and adopts secrets in this process, and lets only sealed ones out."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from keycast.base import crash
from keycast.crypto.errors import CryptoError
from keycast.crypto.points import even_half
from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keys.errors import KeyDamaged, SealedHalfRefused, SecretRefused
from keys.refs import KeyRef, SealedSecret, SecretPurpose
from keys.signing import envelope, sealed_halves
from keys.signing.cosigning.authorisation import UseAuthorisation
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import CosignerMisbehaved
from keys.signing.envelope import SealingContext
from keys.signing.half import SealedHalf, aggregate_of, half_in_transit_context, half_of, seal_half
from keys.signing.kms.protocol import KekProvider
from keys.signing.protocol import KekState, NewKey, SplitKey
from keys.signing.sealed_halves import HalfRole, PageKey, SealedHalfError, SealedHalves
from keys.signing.splitting import split_key, tweak_of_fresh
from keys.signing.vault import opened, unlock


class LocalKeyMaker:
    """A KeyMaker (keys.signing.protocol): seals with the provider that ``current`` names at that moment.

    ``providers`` finds the provider that something was sealed with before, by name.
    """

    def __init__(
        self,
        current: Callable[[], KekProvider],
        providers: Callable[[str], KekProvider],
        cosigner: CosignerClient | None = None,
    ) -> None:
        self._current, self._providers, self._cosigner = current, providers, cosigner

    def generate(self, *, tenant_id: UUID, row_id: UUID, parent_id: UUID | None, purpose: SecretPurpose) -> NewKey:
        """A fresh random key. Raises KekUnavailable."""
        keypair, secret = Keypair.generate()
        with keypair, secret:
            place = SealingContext(tenant_id, row_id, keypair.public_key_hex, purpose, parent_id)
            return NewKey(place.public_key, self._seal(secret, place))

    def adopt(self, secret: SecretBytes, *, tenant_id: UUID, row_id: UUID, purpose: SecretPurpose) -> NewKey:
        """An imported key. Raises SecretRefused, KekUnavailable."""
        place = SealingContext(tenant_id, row_id, self.public_key_of(secret), purpose)
        return NewKey(place.public_key, self._seal(secret, place))

    def public_key_of(self, secret: SecretBytes) -> str:
        """The public key of a secret. Raises SecretRefused when it is not 32 bytes or out of range."""
        try:
            with Keypair.from_secret(secret) as keypair:
                return keypair.public_key_hex
        except CryptoError:
            raise SecretRefused from None

    def rewrap(self, sealed: SealedSecret, place: SealingContext) -> SealedSecret:
        """The same secret, sealed anew. Raises KeyDamaged, KeyMismatch, KekUnavailable."""
        provider = self._current()
        with opened(sealed, place, self._providers(sealed.provider)) as secret:
            again = envelope.seal(secret, place, provider)
        unlock(again, place, provider).wipe()
        return again

    def split(self, sealed: SealedSecret, place: SealingContext) -> SplitKey:
        """See keys.signing.protocol. Raises KeyDamaged, KeyMismatch, KekUnavailable."""
        with opened(sealed, place, self._providers(sealed.provider)) as secret:
            return split_key(secret, place, self._current())

    def hand_over(self, split: SplitKey, *, tenant_id: UUID, key_id: UUID, public_key: str) -> None:
        """See keys.signing.protocol. Raises KeyDamaged, KekUnavailable, keys.signing.cosigning.errors."""
        place = half_in_transit_context(split.half_b, tenant_id, key_id)
        whole = bytes.fromhex(public_key)
        with opened(split.sealed_b, place, self._providers(split.sealed_b.provider)) as half:
            given = blocking(
                lambda b: b.adopt_half(tenant_id, key_id, split.half_a, half, split.tweak, whole), self._cosigner
            )
        if given != b"\x02" + split.half_b:
            raise CosignerMisbehaved

    def split_secret(self, secret: SecretBytes, *, tenant_id: UUID, key_id: UUID) -> SplitKey:
        """See keys.signing.protocol. Raises SecretRefused, KekUnavailable."""
        place = SealingContext(tenant_id, key_id, self.public_key_of(secret), SecretPurpose.PERSONAL_KEY)
        return split_key(secret, place, self._current())

    def draw_page_key(self, *, tenant_id: UUID, key_id: UUID) -> PageKey:
        """See keys.signing.protocol. Raises KekUnavailable."""
        private = sealed_halves.fresh_key()
        unsealed = PageKey(sealed_halves.public_of(private), SealedSecret("", "", b""))
        with sealed_halves.private_bytes(private) as secret:
            sealed = envelope.seal(secret, unsealed.place(tenant_id, key_id), self._current())
        return PageKey(unsealed.public, sealed)

    def take_half(self, halves: SealedHalves) -> SealedHalf:
        """See keys.signing.protocol. Raises SealedHalfRefused, KekUnavailable."""
        said, key = halves.said, halves.page_key
        place = key.place(said.tenant_id, said.key_id)
        try:
            with envelope.unseal(key.sealed, place, self._providers(key.sealed.provider)) as private:
                opened_key = sealed_halves.loaded(private)
            keypair, secret = sealed_halves.open_half(halves.sealed_a, opened_key, said, HalfRole.SIGNER)
        except (KeyDamaged, SealedHalfError):
            raise SealedHalfRefused from None
        with keypair, secret:
            return seal_half(keypair, secret, said.tenant_id, said.key_id, self._current())

    def draw_half(self, *, tenant_id: UUID, key_id: UUID) -> SealedHalf:
        """See keys.signing.protocol. Raises KekUnavailable."""
        keypair, secret = even_half()
        with keypair, secret:
            return seal_half(keypair, secret, tenant_id, key_id, self._current())

    def agree(self, key: KeyRef, new: SealedHalf, grant: UseAuthorisation) -> tuple[bytes, bytes]:
        """See keys.signing.protocol. Raises KeyDamaged, KekUnavailable, keys.signing.cosigning.errors."""
        old, hsm = half_of(key), key.hsm
        assert hsm is not None  # noqa: S101 -- half_of refused such a key
        half_b, difference = blocking(
            lambda b: b.prepare_refresh(key.tenant_id, key.key_id, old.public, new.public, grant), self._cosigner
        )
        crash.point("a-prepared")
        with difference, self._opened_half(key, old) as old_pair, self._opened_half(key, new) as new_pair:
            before = aggregate_of(old.public, hsm.cosigner_public_key, hsm.tweak, key.public_key)
            return half_b, tweak_of_fresh(before, old_pair, new_pair, half_b, difference)

    def kek_state(self, tenant_id: UUID, provider: str = "") -> KekState:
        """See keys.signing.protocol. Raises KekUnavailable."""
        asked = self._providers(provider) if provider else self._current()
        return KekState(asked.name, asked.current_version(tenant_id))

    def _opened_half(self, key: KeyRef, half: SealedHalf) -> Keypair:
        return unlock(half.sealed, half.place(key.tenant_id, key.key_id), self._providers(half.sealed.provider))

    def _seal(self, secret: SecretBytes, place: SealingContext) -> SealedSecret:
        provider = self._current()
        sealed = envelope.seal(secret, place, provider)
        # A personal key exists nowhere else: be sure that what is about to be stored opens again.
        if place.purpose is SecretPurpose.PERSONAL_KEY:
            unlock(sealed, place, provider).wipe()
        return sealed
