"""Parsing events and templates: everything but the exact form is refused, with the one documented error."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import (
    MAX_EVENT_BYTES,
    MAX_TAGS,
    MAX_TEMPLATE_BYTES,
    EventError,
    UnsignedEvent,
    event_id,
    id_bytes,
    id_of,
    is_expired,
    parse_event,
    parse_template,
    serialize,
    single_tag_value,
    tag_values,
    verify_event,
)

KEYPAIR = Keypair.generate()[0]
GOOD = {
    "id": "0" * 64,
    "pubkey": "1" * 64,
    "created_at": 1_780_000_000,
    "kind": 24133,
    "tags": [["p", "2" * 64]],
    "content": "hello",
    "sig": "3" * 128,
}
TEMPLATE = {"kind": 1, "content": "hi", "tags": [], "created_at": 1_780_000_000}
WRONG_VALUES = [
    ("created_at", -1),
    ("created_at", 2**53),
    ("created_at", 1.5),
    ("created_at", "1780000000"),
    ("created_at", True),
    ("created_at", None),
    ("kind", -1),
    ("kind", 65_536),
    ("kind", 65_537),
    ("kind", True),
    ("kind", "1"),
    ("kind", 1.0),
    ("kind", None),
    ("kind", [1]),
    ("tags", {}),
    ("tags", None),
    ("tags", "p"),
    ("tags", ["p"]),
    ("tags", [["p", 1]]),
    ("tags", [["p", None]]),
    ("tags", [["p", ["x"]]]),
    ("tags", [["t"]] * (MAX_TAGS + 1)),
    ("content", 1),
    ("content", None),
    ("content", ["x"]),
    ("content", {}),
]
LABELS = [f"{name}={str(value)[:20]}" for name, value in WRONG_VALUES]


def code_of(parse, raw):
    with pytest.raises(EventError) as refusal:
        parse(raw)
    return refusal.value.code


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=LABELS)
def test_a_member_of_the_wrong_type_or_range_is_refused(name, value):
    assert code_of(parse_event, json.dumps({**GOOD, name: value})) == "malformed"
    assert code_of(parse_template, json.dumps({**TEMPLATE, name: value})) == "malformed"


@pytest.mark.parametrize("name", GOOD)
def test_an_event_without_one_of_the_seven_members_is_refused(name):
    assert code_of(parse_event, json.dumps({key: GOOD[key] for key in GOOD if key != name})) == "malformed"


@pytest.mark.parametrize("name", TEMPLATE)
def test_a_template_without_a_required_member_is_refused(name):
    assert code_of(parse_template, json.dumps({key: TEMPLATE[key] for key in TEMPLATE if key != name})) == "malformed"


@pytest.mark.parametrize("name", ["id", "pubkey", "sig"])
@pytest.mark.parametrize(
    "change", [str.upper, lambda t: "", lambda t: t[:-1], lambda t: t + "a", lambda t: "0x" + t[2:]]
)
def test_hex_that_is_not_exact_is_refused(name, change):
    value = change(GOOD[name].replace(GOOD[name][0], "a"))
    assert code_of(parse_event, json.dumps({**GOOD, name: value})) == "not-hex"


def test_an_eighth_member_is_refused():
    assert code_of(parse_event, json.dumps({**GOOD, "extra": 1})) == "malformed"


@pytest.mark.parametrize("name", GOOD)
def test_a_duplicate_member_of_an_event_is_refused(name):
    raw = json.dumps(GOOD, separators=(",", ":"))
    doubled = raw[:-1] + f',"{name}":{json.dumps(GOOD[name])}}}'
    escaped = raw[:-1] + f',"\\u{ord(name[0]):04x}{name[1:]}":{json.dumps(GOOD[name])}}}'
    for text in (doubled, escaped, doubled.replace(",", " , ")):
        assert code_of(parse_event, text) == "duplicate-key"


@pytest.mark.parametrize("name", TEMPLATE)
def test_a_duplicate_member_of_a_template_is_refused(name):
    raw = json.dumps(TEMPLATE, separators=(",", ":"))[:-1] + f',"{name}":{json.dumps(TEMPLATE[name])}}}'
    assert code_of(parse_template, raw) == "duplicate-key"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "null",
        "[]",
        "1",
        '"x"',
        "{}",
        "{",
        "[" * 20_000,
        '{"a":' * 20_000,
        "\ufeff" + json.dumps(GOOD),
        json.dumps(GOOD) + "x",
        json.dumps(GOOD) + json.dumps(GOOD),
        json.dumps(GOOD).replace("24133", "NaN"),
        json.dumps(GOOD).replace("24133", "1" * 5000),
        json.dumps(GOOD).replace("24133", "024133"),
        json.dumps(GOOD).replace("hello", "\\ud800"),
        json.dumps(GOOD).replace("hello", "\\udc00"),
        json.dumps(GOOD).replace("hello", "\\ud800\\u0041"),
        json.dumps(GOOD).replace("hello", "\ud800"),
        json.dumps(GOOD).replace("hello", "a\nb"),
        json.dumps(GOOD).replace("hello", "a\0b"),
        json.dumps(GOOD).replace("hello", "\\x41"),
        json.dumps(GOOD).encode().replace(b"hello", b"\xff"),
        json.dumps(GOOD).encode().replace(b"hello", b"\xed\xa0\x80"),
        json.dumps(GOOD).encode().replace(b"hello", b"\xc0\xaf"),
        json.dumps(GOOD).encode("utf-16"),
    ],
    ids=lambda raw: ascii(raw)[:30],
)
def test_a_text_that_is_not_strict_json_of_an_event_is_refused(raw):
    assert code_of(parse_event, raw) == "malformed"


def test_a_frame_too_large_is_refused_before_it_is_parsed():
    assert code_of(parse_event, b"[" * (MAX_EVENT_BYTES + 1)) == "too-large"
    assert code_of(parse_template, " " * (MAX_TEMPLATE_BYTES + 1)) == "too-large"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"kind": 65_536}, "kind must be a whole number from 0 to 65535."),
        ({"kind": "1"}, "kind must be a whole number from 0 to 65535."),
        ({"created_at": 1.5}, "created_at must be a whole number of seconds from 0 to 9007199254740991."),
        ({"content": None}, "content must be a string."),
        ({"tags": [[], ["p", None]]}, "tags must be a list of at most 16384 lists of strings (see tags[1][1])."),
        ({"tags": [[]] * (MAX_TAGS + 1)}, "tags must be a list of at most 16384 lists of strings."),
        ({"pubkey": "npub1x"}, "pubkey must be 64 lower-case hex digits."),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_template_that_is_refused_names_the_member_and_its_bound(changes, detail):
    with pytest.raises(EventError) as refusal:
        parse_template(json.dumps({**TEMPLATE, **changes}))
    assert refusal.value.detail == detail


@pytest.mark.parametrize("name", ["kind", "content", "tags", "created_at"])
def test_a_template_without_a_member_is_told_which(name):
    with pytest.raises(EventError) as refusal:
        parse_template(json.dumps({label: value for label, value in TEMPLATE.items() if label != name}))
    assert refusal.value.detail == f"{name} is missing."


def test_an_empty_tag_is_kept():
    template = parse_template(json.dumps({**TEMPLATE, "tags": [[], ["t"]]}))
    assert template.tags == [[], ["t"]]


def test_a_template_for_a_malformed_public_key_is_refused():
    for pubkey in ("", "A" * 64, "npub1x", "a" * 63):
        assert code_of(parse_template, json.dumps({**TEMPLATE, "pubkey": pubkey})) == "not-hex"


def test_hidden_members_of_a_template_must_be_strict_too():
    raw = json.dumps(TEMPLATE)[:-1]
    assert code_of(parse_template, raw + ', "x": {"y": 1, "y": 2}}') == "duplicate-key"
    assert code_of(parse_template, raw + ', "x": ' + "[" * 20_000 + "}") == "malformed"
    assert code_of(parse_template, raw + ', "id": 1}') == "malformed"


@given(st.one_of(st.binary(max_size=400), st.text(max_size=400)))
def test_no_text_makes_parsing_raise_anything_else(raw):
    for parse in (parse_event, parse_template):
        with pytest.raises(EventError):
            parse(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "extra"]), json_values))
def test_whatever_parses_is_a_whole_event(changes):
    try:
        event = parse_event(json.dumps({**GOOD, **changes}))
    except EventError:
        return
    assert json.loads(serialize(event)) == {**GOOD, **changes}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
tag_lists = st.lists(st.lists(text, min_size=1, max_size=4), max_size=5)


@given(st.integers(0, 2**53 - 1), st.integers(0, 65_535), tag_lists, text)
def test_an_event_survives_the_wire_whoever_writes_it(created_at, kind, tags, content):
    unsigned = UnsignedEvent(KEYPAIR.public_key_hex, created_at, kind, tags, content)
    event = unsigned.signed(id_of(unsigned).hex(), KEYPAIR.sign(id_of(unsigned)))
    raw = serialize(event)
    assert parse_event(raw) == parse_event(raw.decode()) == parse_event(msgspec.Raw(raw)) == event
    assert parse_event(json.dumps(json.loads(raw))) == event
    assert parse_event(json.dumps(json.loads(raw), ensure_ascii=False, indent=2)) == event
    assert verify_event(event)


@given(tag_lists, text)
def test_the_id_is_the_hash_of_the_reference_serialisation(tags, content):
    """The reference: Python's own JSON without spaces, which escapes exactly what NIP-01 lists, but for DEL."""
    from hashlib import sha256

    reference = json.dumps([0, "1" * 64, 5, 1, tags, content], separators=(",", ":"), ensure_ascii=False)
    assert event_id("1" * 64, 5, 1, tags, content) == sha256(reference.encode()).hexdigest()


def test_text_that_utf8_cannot_hold_has_no_id():
    with pytest.raises(EventError):
        id_bytes("1" * 64, 1, 1, [], "\ud800")
    with pytest.raises(EventError):
        id_bytes("1" * 64, 1, 1, [["t", "\udfff"]], "")


def test_an_event_made_by_hand_with_broken_members_does_not_verify():
    event = parse_event(json.dumps(GOOD))
    assert not verify_event(event)
    for changes in ({"content": "\ud800"}, {"pubkey": "xyz"}, {"sig": "zz"}, {"sig": ""}, {"id": ""}):
        assert not verify_event(msgspec.structs.replace(event, **changes))


def test_a_template_gives_what_will_be_signed_and_drops_id_and_signature():
    template = parse_template(
        json.dumps({**TEMPLATE, "id": "x", "sig": None, "pubkey": "1" * 64, "__proto__": {"kind": 4}})
    )
    assert (template.kind, template.content, template.tags, template.pubkey) == (1, "hi", [], "1" * 64)
    assert parse_template(json.dumps(TEMPLATE)).pubkey is None
    assert parse_template(json.dumps({**TEMPLATE, "pubkey": None})).pubkey is None
    assert template.by("2" * 64) == UnsignedEvent("2" * 64, 1_780_000_000, 1, [], "hi")


def test_templates_and_unsigned_events_do_not_show_their_content():
    template = parse_template(json.dumps({**TEMPLATE, "content": "canary"}))
    assert "canary" not in f"{template!r}{template.by('2' * 64)!r}"


def tagged(*tags):
    return parse_event(json.dumps({**GOOD, "tags": list(tags)}))


def test_a_single_value_is_single():
    assert single_tag_value(tagged(), "p") is None
    assert single_tag_value(tagged(["p"]), "p") is None
    assert single_tag_value(tagged(["p", "a"], ["p", "b"]), "p") is None
    assert single_tag_value(tagged(["p", "a"], ["p"]), "p") is None
    assert single_tag_value(tagged(["P", "a"]), "p") is None
    assert single_tag_value(tagged(["e", "x"], ["p", "a", "b"]), "p") == "a"
    assert tag_values(tagged(["t", "a"], ["t"], ["t", "b"]), "t") == ["a", None, "b"]


@pytest.mark.compliance(spec="NIP-40", section="Spec", requirement="an event is expired from its expiration on")
def test_an_expiration_that_passed_or_is_no_number_has_expired():
    for value in ("99", "100", "", "x", "-1", "1e9", "1_000", "١٢", " 200", "200\n", "9" * 17, "+200"):
        assert is_expired(tagged(["expiration", value]), 100), value
    assert is_expired(tagged(["expiration"]), 100)
    assert is_expired(tagged(["expiration", "200"], ["expiration", "50"]), 100)
    assert not is_expired(tagged(["expiration", "101"]), 100)
    assert not is_expired(tagged(["t", "1"]), 100)
