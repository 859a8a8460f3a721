"""The cheap proof that a JSON text has no duplicate key, and what it rests on."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.nostr.strict import RedactedStruct, is_unambiguous
from keycast.nostr.types import is_hex


class Pair(msgspec.Struct):
    a: int
    b: list[str]


def judged(raw: str) -> bool:
    data = raw.encode()
    return is_unambiguous(data, msgspec.json.decode(data, type=Pair))


@pytest.mark.parametrize(
    "raw",
    [
        '{"a":1,"a":1,"b":[]}',
        '{"a":2,"b":[],"a":1}',
        '{"a":1,"\\u0061":1,"b":[]}',
        '{ "a": 1, "b": [], "b": ["x"] }',
        '{"a":1,"b":[],"c":1,"c":2}',
        '{"a":1,"b":[],"c":{"d":1,"d":1}}',
        '{"a":1,"b":[],"c":[{"d":1,"d":1}]}',
        '{"a":10000000,"b":["\\u0041\\u0042"],"a":1}',
        '{"a":1,"b":[],"":0,"":0}',
    ],
)
def test_duplicate_keys_are_seen_wherever_they_hide(raw):
    assert not judged(raw)


def test_skipped_members_must_still_be_valid_utf8_and_json():
    for raw in (b'{"a":1,"b":[],"c":"\xff"}', b'{"a":1,"b":[],"c\xff":1}'):
        assert not is_unambiguous(raw, msgspec.json.decode(raw, type=Pair))


def test_deep_nesting_never_ends_in_a_crash():
    raw = b'{"a":1,"b":[],"c":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert not is_unambiguous(raw, Pair(1, []))
    assert judged('{"a":1,"b":[],"c":' + "[" * 100 + "]" * 100 + "}")


@pytest.mark.parametrize(
    "raw",
    ['{"a":1,"b":["x"]}', '{"b":["x"],"a":1}', ' { "a" : 1 , "b" : [ "\\u0041" ] } ', '{"a":1,"b":[],"c":{"a":1}}'],
)
def test_a_text_with_each_key_once_is_unambiguous(raw):
    assert judged(raw)


def test_msgspec_writes_every_character_in_its_shortest_form():
    """What the fast proof rests on: no reader accepts a shorter spelling of any character inside a JSON string."""
    short = {'"': 2, "\\": 2, "\b": 2, "\f": 2, "\n": 2, "\r": 2, "\t": 2}
    for point in range(sys.maxunicode + 1):
        if 0xD800 <= point <= 0xDFFF:
            continue
        character = chr(point)
        shortest = short.get(character, 6 if point < 0x20 else len(character.encode()))
        assert len(msgspec.json.encode(character)) == shortest + 2, hex(point)


def test_msgspec_writes_integers_without_a_spare_digit():
    for number in (0, 1, -1, 10, 2**53 - 1, 2**63, 2**64 - 1):
        assert msgspec.json.encode(number).decode() == str(number)


members = st.tuples(st.sampled_from(["a", "b", "c", "\\u0061", "\\u0062"]), st.integers(0, 3))


@given(st.lists(members, max_size=5), st.booleans())
def test_it_agrees_with_a_reader_that_keeps_every_key(extra, spaced):
    values = {"b": ["[]", '["x"]', '[""]', '["\\u0041"]']}
    pairs = [("a", "1"), ("b", "[]")]
    pairs += [(name, values["b"][number] if name in {"b", "\\u0062"} else str(number)) for name, number in extra]
    joint, colon = (", ", ": ") if spaced else (",", ":")
    raw = "{" + joint.join(f'"{name}"{colon}{value}' for name, value in pairs) + "}"
    names = [json.loads(f'"{name}"') for name, _ in pairs]
    assert judged(raw) is (len(set(names)) == len(names))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 64,
        "a" * 63,
        "a" * 65,
        "a" * 63 + "\n",
        "a " * 32,
        " " + "a" * 62 + " ",
        "g" * 64,
        "\uff11" * 64,
        "0x" + "a" * 62,
    ],
)
def test_only_lower_case_hex_of_the_exact_length_is_hex(text):
    assert not is_hex(text, 32)


def test_lower_case_hex_is_hex():
    assert is_hex("0123456789abcdef" * 4, 32)
    assert is_hex("", 0)


def test_a_quiet_struct_shows_no_member():
    class Words(RedactedStruct, frozen=True):
        text: str

    words = Words("canary")
    assert "canary" not in f"{words!r} {words} {words.__rich_repr__()}"
