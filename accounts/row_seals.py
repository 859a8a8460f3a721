"""Seals on rows: show that a process of ours wrote the row, and not somebody who can write the database.

A seal is an HMAC-SHA-256 (RFC 2104) over the columns that give power, under a key that the database has not
(accounts.sealing). ``keep_sealed`` has every save of a model through Django seal the row anew, in the transaction of
the save, whoever calls it: services, allauth, Django's commands. A row that does not fit its seal is never sealed by
that; an operator does it, by ``manage.py seal_rows``.

A seal does not show that a row is the latest one: who kept an earlier row with its seal can put it back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import models, transaction

from accounts.sealing import authenticate, is_authentic

log = structlog.get_logger(__name__)

CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class RowSeal:
    """How rows of one model are sealed: ``columns`` by their attribute names, the seal in ``field``.

    ``derived`` are columns that are never taken from what is being saved, only from what is stored.
    """

    purpose: str
    columns: tuple[str, ...]
    field: str = "seal"
    derived: tuple[str, ...] = ()

    def of(self, row: models.Model) -> str:
        """The seal of a row as it is in memory; 64 hex digits."""
        return self.of_values(*(_stored_form(row, name) for name in self.columns))

    def of_values(self, *values: Any) -> str:
        """The same of its columns' values, in their order."""
        return authenticate(self.purpose, *map(_text, values))

    def fits(self, row: models.Model) -> bool:
        """Whether the row has a seal that fits it."""
        return self.fits_values(getattr(row, self.field), *(_stored_form(row, name) for name in self.columns))

    def fits_values(self, seal: str, *values: Any) -> bool:
        """Whether ``seal`` fits these values of the columns."""
        return bool(seal) and is_authentic(seal, self.purpose, *map(_text, values))

    def concerns(self, fields: Collection[str] | None) -> bool:
        """Whether saving these fields (None: all) changes what is sealed."""
        if fields is None:
            return True
        return any(name in self.columns or f"{name}_id" in self.columns for name in fields)


def keep_sealed(model: type[models.Model], seal: RowSeal) -> None:
    """Have ``model``'s ``save`` seal what it stores. Called once, when the app is ready."""
    original: Callable[..., None] = model.save

    @wraps(original)
    def save(self: Any, *args: Any, **options: Any) -> None:
        fields = options.get("update_fields")
        if not seal.concerns(fields):
            return original(self, *args, **options)
        with transaction.atomic():
            if self._state.adding:
                setattr(self, seal.field, seal.of(self))
            elif _seal_change(self, seal, fields) and fields is not None:
                options["update_fields"] = {*fields, seal.field}
            return original(self, *args, **options)

    model.save = save  # type: ignore[method-assign]


def _seal_change(row: Any, seal: RowSeal, fields: Collection[str] | None) -> bool:
    """Seal what the row is about to be; False, and the stored seal kept, where the stored one does not fit its own."""
    stored = type(row)._base_manager.select_for_update().filter(pk=row.pk).first()
    if stored is None:
        return False
    for name in seal.derived:
        setattr(row, name, getattr(stored, name))
    if not seal.fits(stored):
        # Whoever changed it past us is not to have it sealed by the next one who saves it.
        log.error("row_not_sealed", table=row._meta.db_table, row=str(row.pk))
        setattr(row, seal.field, getattr(stored, seal.field))
        return False
    for name in seal.columns:
        if fields is None or name in fields or name.removesuffix("_id") in fields:
            setattr(stored, name, getattr(row, name))
    setattr(row, seal.field, seal.of(stored))
    return True


def renew(model: type[models.Model], seal: RowSeal) -> tuple[int, list[str]]:
    """Seal anew, under the present field key, what an earlier one sealed: how many, and which rows do not fit."""
    changed, broken = 0, []
    for row in (row for chunk in chunks(model) for row in chunk):
        present = seal.of(row)
        if getattr(row, seal.field) == present:
            continue
        if not seal.fits(row):
            broken.append(str(row.pk))
            continue
        same = {name: getattr(row, name) for name in (*seal.columns, seal.field)}
        changed += model._base_manager.filter(pk=row.pk, **same).update(**{seal.field: present})
    return changed, broken


def seal_all(model: Any, seal: RowSeal) -> None:
    """Take every row that is there as ours: for migrations, once, which pass their own class of the model."""
    for chunk in chunks(model):
        for row in chunk:
            setattr(row, seal.field, seal.of(row))
        model._base_manager.bulk_update(chunk, [seal.field])


def chunks(model: Any) -> Iterator[list[Any]]:
    """Every row of every tenant, by its primary key, a few hundred at a time."""
    last = None
    while True:
        found = model._base_manager.order_by("pk")
        chunk = list((found if last is None else found.filter(pk__gt=last))[:CHUNK])
        yield chunk
        if len(chunk) < CHUNK:
            return
        last = chunk[-1].pk


def _stored_form(row: models.Model, name: str) -> Any:
    """A value as it comes back from the database: an id that was given as text is a UUID there."""
    field: Any = row._meta.get_field(name.removesuffix("_id"))
    target = field.target_field if field.is_relation else field
    return target.to_python(getattr(row, name))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
