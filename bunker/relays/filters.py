"""NIP-01 filters: parsed strictly, evaluated in full."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bunker.relays.limits import BuiltInLimits

if TYPE_CHECKING:
    from keycast.nostr.nip01 import Event

_HEX64 = re.compile(r"[0-9a-f]{64}")
_TAG_NAME = re.compile(r"#[a-zA-Z]")


def count_values(filters: list[object]) -> int:
    """How many values the conditions of filters that are not parsed yet name, all together."""
    conditions = (item for found in filters if type(found) is dict for item in found.values())
    return sum(len(item) for item in conditions if type(item) is list)


class FilterError(ValueError):
    """A filter that is not understood; the text may go to the client."""


class Filter:
    """One NIP-01 filter. A condition that is None does not restrict; times are Unix seconds."""

    __slots__ = ("authors", "ids", "kinds", "limit", "recipients", "since", "tags", "until")

    def __init__(self) -> None:
        self.ids: frozenset[str] | None = None
        self.authors: frozenset[str] | None = None
        self.kinds: frozenset[int] | None = None
        self.recipients: frozenset[str] | None = None
        self.tags: dict[str, frozenset[str]] = {}
        self.since: int | None = None
        self.until: int | None = None
        self.limit: int | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it names recipients, authors or ids: others would watch everybody's traffic."""
        return self.recipients is not None or self.authors is not None or self.ids is not None

    @property
    def value_count(self) -> int:
        """How many values its conditions name, all together."""
        sets = (self.ids, self.authors, self.kinds, self.recipients, *self.tags.values())
        return sum(len(values) for values in sets if values is not None)

    def matches(self, event: Event, recipient: str) -> bool:
        """Tell whether ``event``, whose only ``p`` tag is ``recipient``, meets every condition but ``limit``."""
        return (
            (self.recipients is None or recipient in self.recipients)
            and (self.authors is None or event.pubkey in self.authors)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.since is None or event.created_at >= self.since)
            and (self.until is None or event.created_at <= self.until)
            and (self.ids is None or event.id in self.ids)
            and (not self.tags or self._tags_match(event))
        )

    def _tags_match(self, event: Event) -> bool:
        for name, wanted in self.tags.items():
            if not any(len(tag) > 1 and tag[0] == name and tag[1] in wanted for tag in event.tags):
                return False
        return True


def parse_filter(value: object, limits: BuiltInLimits) -> Filter:
    """Parse one filter object of a REQ. Raises FilterError, also for conditions that this relay does not know."""
    if type(value) is not dict:
        raise FilterError("invalid: a filter must be an object")
    parsed, most = Filter(), limits.filter_values
    for name, condition in value.items():
        if name in {"ids", "authors"}:
            setattr(parsed, name, _hex_set(name, condition, most))
        elif name == "#p":
            parsed.recipients = _hex_set(name, condition, most)
        elif name == "kinds":
            parsed.kinds = frozenset(_number(item) for item in _list(name, condition, most))
        elif name in {"since", "until", "limit"}:
            setattr(parsed, name, _number(condition))
        elif _TAG_NAME.fullmatch(name):
            if len(parsed.tags) >= limits.tag_conditions:
                raise FilterError(f"invalid: at most {limits.tag_conditions} conditions on tags beside #p")
            parsed.tags[name[1]] = _tag_values(name, condition, limits)
        else:
            raise FilterError("unsupported: unknown filter condition")
    return parsed


def _tag_values(name: str, condition: object, limits: BuiltInLimits) -> frozenset[str]:
    values = frozenset(_text(item) for item in _list(name, condition, limits.tag_values))
    if any(len(item) > limits.tag_value_chars for item in values):
        raise FilterError(f"invalid: a value of {name} has more than {limits.tag_value_chars} characters")
    return values


def _list(name: str, value: object, max_values: int) -> list[object]:
    if type(value) is not list:
        raise FilterError(f"invalid: {name} must be a list")
    if len(value) > max_values:
        raise FilterError(f"invalid: more than {max_values} values in {name}")
    return value


def _hex_set(name: str, value: object, max_values: int) -> frozenset[str]:
    items = _list(name, value, max_values)
    if not all(type(item) is str and _HEX64.fullmatch(item) for item in items):
        raise FilterError(f"invalid: {name} takes 64 lower-case hex digits")
    return frozenset(str(item) for item in items)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 2**53:
        raise FilterError("invalid: a number is out of range")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise FilterError("invalid: a tag value must be a string")
    return value
