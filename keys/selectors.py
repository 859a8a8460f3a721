"""Reads of keys, each within one tenant, and the references that signers and workers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django_scopes import scope, scopes_disabled

from accounts.models import KeyMode, Tenant, User
from keycast.nostr import nip19
from keys.errors import KeyNotFound
from keys.hsm import inspection, providers, version_states
from keys.hsm.provisioning import LIMIT
from keys.lifecycle.modes import ModeOffer, offers
from keys.lifecycle.rows import key_ref, transport_ref
from keys.models import AuthoriserProof, Conversion, ConversionStep, KeyState, PersonalKey, Succession, TransportKey
from keys.refs import Capabilities, KeyRef, TransportRef
from keys.signing.local import CAPABILITIES as ENCRYPTED
from keys.signing.reports import HsmReport

__all__ = [
    "WayOfKeeping",
    "capabilities_of",
    "failed_key_of",
    "failed_keys_of",
    "hsm_reports",
    "hsm_services",
    "is_emulated",
    "is_split",
    "key_by_public_key",
    "key_of",
    "key_ref",
    "key_refs",
    "keys_of",
    "mode_offers",
    "pending_until",
    "split_provider",
    "transport_of",
    "transport_ref",
    "transport_refs",
    "way_of_keeping",
]

_ENDED = (KeyState.DESTROYED, KeyState.FAILED)


def keys_of(user: User, tenant: Tenant) -> QuerySet[PersonalKey]:
    """The user's keys in this tenant, tombstones left out, oldest first."""
    with scope(tenant=tenant):
        found: QuerySet[PersonalKey] = PersonalKey.objects.filter(tenant=tenant, user=user)
        return found.exclude(state__in=_ENDED).select_related("tenant", "user")


def key_of(user: User, tenant: Tenant, key_id: UUID) -> PersonalKey:
    """One of the user's keys in this tenant. Raises KeyNotFound, also for a tombstone."""
    found = keys_of(user, tenant).filter(pk=key_id).first()
    if found is None:
        raise KeyNotFound
    return found


def failed_keys_of(user: User, tenant: Tenant) -> QuerySet[PersonalKey]:
    """The user's keys in this tenant that could not be made, and that nobody has removed yet."""
    with scope(tenant=tenant):
        found: QuerySet[PersonalKey] = PersonalKey.objects.filter(tenant=tenant, user=user, state=KeyState.FAILED)
        return found.select_related("tenant", "user")


def failed_key_of(user: User, tenant: Tenant, key_id: UUID) -> PersonalKey:
    """One of them. Raises KeyNotFound."""
    found = failed_keys_of(user, tenant).filter(pk=key_id).first()
    if found is None:
        raise KeyNotFound
    return found


def key_by_public_key(text: str, tenant: Tenant | None = None) -> PersonalKey:
    """The key with this npub or hex public key, in one tenant, or in any for operators. Raises KeyNotFound."""
    try:
        public_key = nip19.public_key_of(text.strip())
    except nip19.Nip19Error:
        raise KeyNotFound from None
    # Operators ask without a tenant, and a public key is one tenant's at most.
    with scopes_disabled():
        keys = PersonalKey.objects.filter(public_key=public_key).exclude(state__in=_ENDED)
        found: PersonalKey | None = (keys.filter(tenant=tenant) if tenant else keys).select_related("tenant").first()
    if found is None:
        raise KeyNotFound
    return found


def pending_until(key: PersonalKey) -> datetime:
    """When the jobs give up a key that is being made."""
    return key.created_at + LIMIT


def transport_of(key: PersonalKey) -> TransportKey:
    """The key's current transport key. Raises KeyNotFound."""
    with scope(tenant=key.tenant_id):
        found: TransportKey | None = TransportKey.objects.filter(
            tenant_id=key.tenant_id, key=key, is_current=True
        ).first()
    if found is None:
        raise KeyNotFound
    return found


def mode_offers(tenant: Tenant) -> list[ModeOffer]:
    """The kinds of key that the tenant offers, its default first, each with what it can do and what is missing."""
    return offers(tenant)


def capabilities_of(key: PersonalKey) -> Capabilities | None:
    """What this key can do, as its mode's offer says; None while nothing here serves its mode."""
    for offer in offers(key.tenant):
        if (offer.key_mode, offer.provider) == (key.key_mode, key.provider_of_mode):
            return offer.capabilities
    return ENCRYPTED if key.key_mode == KeyMode.ENCRYPTED else None


@dataclass(frozen=True, slots=True)
class WayOfKeeping:
    """What may honestly be said of keys of one mode and provider (docs/security-model.md), in plain words."""

    name: str
    whole: str
    at_rest: str
    latency: str


def way_of_keeping(key_mode: str, provider: str) -> WayOfKeeping:
    """Of keys of this kind, whether they can be had here or not. Raises LookupError for a kind that there is not."""
    found = providers.known().get(provider)
    if key_mode == KeyMode.ENCRYPTED:
        at_rest = found.kek.at_rest if found and found.kek else "in the database, encrypted"
        return WayOfKeeping(ENCRYPTED.name, "in the signer's memory, for a moment", at_rest, "under 1 ms")
    if found is None or found.hsm is None:
        raise LookupError(provider)
    hsm = found.hsm
    return WayOfKeeping(hsm.capabilities().name, hsm.whole, hsm.at_rest, hsm.latency)


def is_emulated(key_mode: str, provider: str) -> bool:
    """Whether an emulator is behind what such keys ask of their provider."""
    hsm = providers.hsm_of(provider)
    return hsm is not None and hsm.is_emulated()


def is_split(key: PersonalKey) -> bool:
    """Whether two signers hold a half each of it, and an HSM authorises what they sign."""
    return keeps_halves(key.key_mode, key.hsm_provider)


def keeps_halves(key_mode: str, provider: str) -> bool:
    """The same of all keys of a mode and provider."""
    return key_mode == KeyMode.HSM and providers.splits(provider)


def proof_in_words(key: PersonalKey) -> str:
    """Why the co-signer takes a split key's authoriser for a key in an HSM."""
    found = AuthoriserProof.objects.filter(key=key, authoriser_public_key=key.authoriser_public_key).first()
    if found is None:
        return "Not recorded: it was registered before the co-signer asked."
    return f"{found.get_kind_display()}, {found.checked_at:%Y-%m-%d %H:%M} UTC"


def split_provider() -> str:
    """Who authorises for a key that becomes a split one."""
    return providers.split_provider()


def hsm_services() -> list[str]:
    """What the HSMs that this deployment is to use are called in logs and on operators' pages."""
    return [providers.known()[name].service for name, _ in providers.hsms()]


def hsm_reports() -> list[HsmReport]:
    """How the HSMs and the co-signer look from here; empty where none is set up."""
    return list(inspection.reports())


def key_refs(key_ids: Iterable[UUID]) -> Iterator[KeyRef]:
    """References of these keys, of any tenant and state, in no order; for workers, in few queries."""
    for chunk in _chunks(key_ids):
        # Workers serve keys of every tenant.
        with scopes_disabled():
            rows = list(PersonalKey.objects.filter(pk__in=chunk, public_key__isnull=False))
        yield from (key_ref(row) for row in rows)


def transport_refs(transport_ids: Iterable[UUID]) -> Iterator[TransportRef]:
    """References of these transport keys, of any tenant, in no order; for workers, in few queries."""
    for chunk in _chunks(transport_ids):
        # Workers serve keys of every tenant.
        with scopes_disabled():
            rows = list(TransportKey.objects.filter(pk__in=chunk))
        yield from (transport_ref(row) for row in rows)


def hsm_lags(key: PersonalKey) -> bool:
    """Whether a split key's part in the HSM is not yet disabled or enabled as the key is; no query."""
    return version_states.lags(key)


def overdue_hsm_changes(before: datetime) -> dict[str, int]:
    """What jobs have not brought about in the HSM or the co-signer since ``before``, by plain name; for operators."""
    # Operators look at the whole deployment.
    with scopes_disabled():
        found = {
            "moves of keys to the HSM": Conversion.objects.filter(started_at__lt=before).exclude(
                step=ConversionStep.FAILED
            ),
            "replacements of HSM keys": Succession.objects.filter(started_at__lt=before),
            "HSM keys to be disabled or enabled": version_states.out_of_sync_keys().filter(state_changed_at__lt=before),
        }
        counted = {name: rows.count() for name, rows in found.items()}
    return {name: count for name, count in counted.items() if count}


def _chunks(ids: Iterable[UUID], size: int = 500) -> Iterator[list[UUID]]:
    wanted = list(ids)
    yield from (wanted[start : start + size] for start in range(0, len(wanted), size))
