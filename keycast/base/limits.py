"""Bounds that a deployment may change: a dataclass of numbers, and a setting that overrides single ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

L = TypeVar("L", bound="DataclassInstance")


def overridden(limits: L, given: Mapping[str, Any], setting: str, *, zero: Collection[str] = ()) -> L:
    """``limits`` with the numbers of ``given``, each of the type that it has; above 0, or 0 for the names in ``zero``.

    Raises ImproperlyConfigured, which names ``setting``, for a name that is none and a number that is none.
    """
    kinds = {field.name: type(getattr(limits, field.name)) for field in fields(limits)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        try:
            values[name] = kinds[name](value)
        except (KeyError, ValueError):
            raise ImproperlyConfigured(f"{setting}: {name}={value} is no limit.") from None
        if values[name] < 0 or (values[name] == 0 and name not in zero):
            raise ImproperlyConfigured(f"{setting}: {name} must be above 0.")
    return replace(limits, **values)
