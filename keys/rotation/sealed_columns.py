"""Every column that holds something sealed under a key-encryption key, and how each is sealed anew.

A shelf is one such column. Whoever adds a table with sealed secrets adds a shelf, and ``tests/keys/rotation`` fails for
a model with a ``kek_version`` that no shelf knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Model, Q, QuerySet

from keys.models import Conversion, HalfRefresh, PersonalKey, TransportKey
from keys.refs import SealedSecret, SecretPurpose
from keys.rotation.scope import RotationScope
from keys.signing.envelope import SealingContext
from keys.signing.factory import key_maker
from keys.signing.half import SealedHalf, half_in_transit_context

_NO_TENANT: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One sealed secret as it was read: where it belongs, and which personal key it serves."""

    shelf: SealedColumn
    row_id: UUID
    key_id: UUID
    tenant_id: UUID
    blob: bytes
    sealed: SealedSecret
    place: SealingContext


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """One column. ``about`` names the personal key (path from the row), ``kept`` the rows that hold a secret.

    ``read`` gives the sealed secret and its place; ``fields`` the columns to write for a secret sealed anew, beside
    ``version``, the one that names the key-encryption key.
    """

    name: str
    model: type[Model]
    column: str
    about: str
    kept: Q
    read: Callable[[Any], tuple[SealedSecret, SealingContext]]
    fields: Callable[[SealedRow, SealedSecret], dict[str, Any]]
    version: str = "kek_version"

    def rows(self, scope: RotationScope | None = None) -> QuerySet[Any]:
        """Every row of ``scope`` that holds a secret, by primary key."""
        found = self.model._default_manager.filter(self.kept)
        if scope is not None and scope.key_id is not None:
            found = found.filter(**{self.about: scope.key_id})
        elif scope is not None and scope.tenant_id is not None:
            owner = "tenant_id" if self.about == "pk" else f"{self.about.removesuffix('_id')}__tenant_id"
            found = found.filter(**{owner: scope.tenant_id})
        return found.order_by("pk")

    def stale(self, scope: RotationScope, version: str) -> QuerySet[Any]:
        """Those of them that are not sealed under ``version``, with their keys."""
        found = self.rows(scope).exclude(**{self.version: version})
        return found if self.about == "pk" else found.select_related("key")

    def take(self, row: Any) -> SealedRow:
        """What there is to seal anew in a row. Raises KeyDamaged."""
        sealed, place = self.read(row)
        key_id = row.pk if self.about == "pk" else getattr(row, self.about)
        return SealedRow(self, row.pk, key_id, place.tenant_id, bytes(getattr(row, self.column)), sealed, place)

    def store(self, old: SealedRow, new: SealedSecret) -> bool:
        """Put ``new`` in the place of exactly ``old``; False when the row has changed since it was read."""
        unchanged = {"pk": old.row_id, self.column: old.blob, self.version: old.sealed.kek_version}
        found = self.model._default_manager.filter(self.kept, **unchanged)
        return bool(found.update(**{self.version: new.kek_version}, **self.fields(old, new)))


def _read_personal(row: PersonalKey) -> tuple[SealedSecret, SealingContext]:
    sealed = SealedSecret.stored(row.kek_provider, row.kek_version, row.encrypted_secret_key)
    return sealed, SealingContext(row.tenant_id, row.id, row.public_key or "", SecretPurpose.PERSONAL_KEY)


def _read_half(row: PersonalKey) -> tuple[SealedSecret, SealingContext]:
    half = SealedHalf.unpack(row.encrypted_half_key, row.kek_version)
    return half.sealed, half.place(row.tenant_id, row.id)


def _read_coming_half(row: HalfRefresh) -> tuple[SealedSecret, SealingContext]:
    half = SealedHalf.unpack(row.encrypted_half_key, row.kek_version)
    return half.sealed, half.place(row.key.tenant_id, row.key_id)


def _read_half_a(row: Conversion) -> tuple[SealedSecret, SealingContext]:
    half = SealedHalf.unpack(row.half_a, row.half_a_kek_version)
    return half.sealed, half.place(row.key.tenant_id, row.key_id)


def _read_half_b(row: Conversion) -> tuple[SealedSecret, SealingContext]:
    half = SealedHalf.unpack(row.half_b, row.half_b_kek_version)
    return half.sealed, half_in_transit_context(half.public, row.key.tenant_id, row.key_id)


def _read_transport(row: TransportKey) -> tuple[SealedSecret, SealingContext]:
    sealed = SealedSecret.stored(row.kek_provider, row.kek_version, row.encrypted_secret_key)
    return sealed, SealingContext(row.tenant_id, row.id, row.public_key, SecretPurpose.TRANSPORT_KEY, row.key_id)


def _half_fields(old: SealedRow, new: SealedSecret) -> dict[str, Any]:
    half = SealedHalf.unpack(old.blob, old.sealed.kek_version)
    return {old.shelf.column: replace(half, sealed=new).pack()}


_sealed_columns: Final[list[SealedColumn]] = [
    SealedColumn(
        "personal keys",
        PersonalKey,
        "encrypted_secret_key",
        "pk",
        Q(encrypted_secret_key__isnull=False),
        _read_personal,
        lambda old, new: {"encrypted_secret_key": new.blob, "kek_provider": new.provider},
    ),
    SealedColumn(
        "signer A's halves",
        PersonalKey,
        "encrypted_half_key",
        "pk",
        Q(encrypted_half_key__isnull=False),
        _read_half,
        _half_fields,
    ),
    SealedColumn(
        "remote-signer keys",
        TransportKey,
        "encrypted_secret_key",
        "key_id",
        Q(retired_at__isnull=True),
        _read_transport,
        lambda old, new: {"encrypted_secret_key": new.blob, "kek_provider": new.provider},
    ),
    SealedColumn(
        "halves being renewed",
        HalfRefresh,
        "encrypted_half_key",
        "key_id",
        Q(encrypted_half_key__isnull=False),
        _read_coming_half,
        _half_fields,
    ),
    SealedColumn(
        "halves A of keys being converted",
        Conversion,
        "half_a",
        "key_id",
        Q(half_a__isnull=False),
        _read_half_a,
        _half_fields,
        "half_a_kek_version",
    ),
    SealedColumn(
        "halves B of keys being converted",
        Conversion,
        "half_b",
        "key_id",
        Q(half_b__isnull=False),
        _read_half_b,
        _half_fields,
        "half_b_kek_version",
    ),
]


def add(shelf: SealedColumn) -> None:
    """Make another column known; called once, when the app is ready."""
    _sealed_columns.append(shelf)


def sealed_columns() -> tuple[SealedColumn, ...]:
    """All of them, in the order in which a rotation goes over them."""
    return tuple(_sealed_columns)


def references() -> dict[str, dict[str, int]]:
    """How many secrets are sealed under each version of a key-encryption key: by version, then by shelf."""
    found: dict[str, dict[str, int]] = {}
    for shelf in _sealed_columns:
        for version, count in shelf.rows().order_by().values_list(shelf.version).annotate(count=Count("pk")):
            found.setdefault(version, {})[shelf.name] = count
    return found


def current_version() -> str:
    """The version that fresh secrets are sealed under now, wherever the signer runs. Raises KekUnavailable.

    It is the same for every tenant; whoever seals is asked, and nobody has to hold a key-encryption key here.
    """
    return key_maker().kek_state(_NO_TENANT).current


def stale(scope: RotationScope, version: str) -> int:
    """How many secrets of ``scope`` are not sealed under ``version``."""
    counts: list[int] = [shelf.stale(scope, version).count() for shelf in _sealed_columns]
    return sum(counts)
