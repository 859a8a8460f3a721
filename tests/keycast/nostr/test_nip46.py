"""Requests, responses and permissions of NIP-46."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.nostr.nip46 import (
    MAX_PARAMS,
    MAX_PERMISSIONS_TEXT,
    MAX_REQUEST_ID,
    METHODS,
    Nip46Method,
    Nip46Request,
    Nip46Response,
    RequestedPermission,
    RequestError,
    parse_permissions,
    parse_request,
    parse_response,
)

SPEC = "NIP-46"


def refusal(text):
    with pytest.raises(RequestError) as error:
        parse_request(text)
    return error.value.code, error.value.request_id


@pytest.mark.compliance(spec=SPEC, section="Request Events", requirement="what has no id is not answered")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "42",
        "null",
        '"x"',
        "[]",
        '[{"id":"a","method":"ping","params":[]}]',
        "{}",
        '{"id":null,"method":"ping","params":[]}',
        '{"id":{},"method":"ping","params":[]}',
        '{"id":"","method":"ping","params":[]}',
        json.dumps({"id": "x" * 100_000, "method": "ping", "params": []}),
        json.dumps({"id": "x" * (MAX_REQUEST_ID + 1), "method": "ping", "params": []}),
        '{"id":"a","method":"ping","params":' + "[" * 20_000,
        '{"id":"a","method":"ping","params":' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"id":"a","method":"ping","params":[]} x',
        '\ufeff{"id":"a","method":"ping","params":[]}',
        '{"id":"a\ud800","method":"ping","params":[]}',
        '{"id":"\\ud800","method":"ping","params":[]}',
        '{"id":"a\\u0000","method":1,"params":[]}',
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_a_text_without_a_usable_id_is_refused_without_one(text):
    assert refusal(text) == ("malformed", None)


@pytest.mark.compliance(spec=SPEC, section="Request Events", requirement="a malformed request with an id gets an error")
@pytest.mark.parametrize(
    "rest",
    [
        '"method":"ping"',
        '"params":[]',
        '"method":1,"params":[]',
        '"method":null,"params":[]',
        '"method":"ping","params":null',
        '"method":"ping","params":{}',
        '"method":"ping","params":"x"',
        '"method":"ping","params":[1]',
        '"method":"ping","params":[null]',
        '"method":"sign_event","params":[{"kind":1}]',
        '"method":"ping","params":' + json.dumps(["x"] * (MAX_PARAMS + 1)),
        '"method":"' + "m" * 65 + '","params":[]',
    ],
    ids=lambda rest: rest[:40],
)
def test_a_malformed_request_keeps_its_id_for_the_error_reply(rest):
    assert refusal(f'{{"id":"req-1",{rest}}}') == ("malformed", "req-1")


def test_duplicate_keys_are_refused_with_the_id():
    assert refusal('{"id":"a","method":"ping","method":"logout","params":[]}') == ("duplicate-key", "a")
    assert refusal('{"id":"a","method":"ping","meth\\u006fd":"logout","params":[]}') == ("duplicate-key", "a")
    assert refusal('{"id":"a","method":"ping","params":[],"x":{"y":1,"y":1}}') == ("duplicate-key", "a")


@pytest.mark.parametrize("control", ["\\u0000", "\\n", "\\u001b", "\\u202e", "\\u0085"])
def test_an_id_with_control_characters_is_refused(control):
    code, request_id = refusal(f'{{"id":"a{control}","method":"ping","params":[]}}')
    assert code == "bad-id"
    assert request_id == "a" + json.loads(f'"{control}"')


@given(st.text(max_size=300))
def test_no_text_makes_parsing_raise_anything_else(text):
    with pytest.raises(RequestError):
        parse_request(text)
    with pytest.raises(RequestError):
        parse_response(text)


@given(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=64),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), max_size=MAX_PARAMS),
)
def test_a_request_survives_the_wire(request_id, method, params):
    request = Nip46Request(request_id, method, params)
    assert parse_request(request.to_text()) == request
    assert parse_request(json.dumps(json.loads(request.to_text()), indent=1)) == request


def test_unknown_members_and_methods_are_let_through():
    request = parse_request('{"id":"a","method":"__class__","params":["x"],"__proto__":{"id":"b"}}')
    assert (request.id, request.method, request.params) == ("a", "__class__", ["x"])
    assert request.method not in METHODS


@pytest.mark.compliance(spec=SPEC, section="Methods/Commands", requirement="every method of the specification is known")
def test_the_methods_are_those_of_the_specification():
    assert {
        "connect",
        "sign_event",
        "ping",
        "get_public_key",
        "nip04_encrypt",
        "nip04_decrypt",
        "nip44_encrypt",
        "nip44_decrypt",
        "switch_relays",
        "logout",
    } == set(METHODS)


def test_an_empty_result_or_error_is_refused():
    with pytest.raises(ValueError, match="never empty"):
        Nip46Response.ok("a", "")
    with pytest.raises(ValueError, match="never empty"):
        Nip46Response.failed("a", "")


@pytest.mark.compliance(
    spec=SPEC, section="Response Events", requirement="result is a string, error a string or absent"
)
def test_a_response_has_the_members_that_it_needs():
    assert json.loads(Nip46Response.ok("a", "pong").to_text()) == {"id": "a", "result": "pong"}
    assert json.loads(Nip46Response.failed("a", "no").to_text()) == {"id": "a", "result": "", "error": "no"}
    for method in Nip46Method:
        word = "error" if method is Nip46Method.SIGN_EVENT else ""
        assert Nip46Response.failed("a", "no", method).result == word
    challenge = Nip46Response.auth_url("a", "https://x.example/")
    assert json.loads(challenge.to_text()) == {"id": "a", "result": "auth_url", "error": "https://x.example/"}
    for response in (Nip46Response.ok("a", "pong"), Nip46Response.failed("a", "no"), challenge):
        assert parse_response(response.to_text()) == response
    assert parse_response('{"id":"a","result":"","error":null}') == Nip46Response("a", "", None)


def test_messages_do_not_show_themselves():
    for message in (Nip46Request("a", "connect", ["canary"]), Nip46Response.ok("a", "canary")):
        assert "canary" not in repr(message)


@pytest.mark.parametrize("number", ["1", "0.25", "-7", "12345678901234567890"])
def test_a_numeric_id_is_an_error_that_names_the_number(number):
    code, request_id = refusal(f'{{"id":{number},"method":"ping","params":[]}}')
    assert code == "malformed"
    answer = Nip46Response.failed(request_id, "no").to_text()
    assert json.loads(answer)["id"] == json.loads(number)


@pytest.mark.parametrize("identifier", ["true", "null", "{}", "[]", '""'])
def test_without_an_id_that_can_be_repeated_there_is_none(identifier):
    assert refusal(f'{{"id":{identifier},"method":"ping","params":[]}}') == ("malformed", None)


def test_a_connect_may_have_parameters_of_any_type_and_no_other_method_may():
    text = '{"id":"1","method":"connect","params":[null,"secret",7,{"name":"App"}]}'
    assert parse_request(text).params == ["", "secret", "7", '{"name":"App"}']
    assert refusal(text.replace("connect", "ping")) == ("malformed", "1")
    assert refusal(text.replace('"name":"App"', '"name":"App","name":"B"')) == ("malformed", None)


@pytest.mark.parametrize(
    "text",
    ["*", "undefined", "null", "all", "[object Object]", "sign_event:x", "sign_event:-1", "sign_event:65536",
     "sign_event:1.0", "sign_event:\u0661", "nip44_encrypt:1", "SIGN_EVENT", "later_method", "{\"name\":\"App\"}"],
    ids=ascii,
)  # fmt: skip
def test_permissions_that_nobody_knows_are_kept_apart(text):
    parsed = parse_permissions(text)
    assert parsed.known == ()
    assert parsed.unknown == (text,)
    assert parse_permissions(f"{text},sign_event:1").known == (RequestedPermission("sign_event", 1),)


@given(st.text(max_size=60))
def test_no_text_makes_permissions_raise(text):
    parsed = parse_permissions(text)
    assert parse_permissions(str(parsed)).known == parsed.known


def test_a_list_of_permissions_is_cut_between_entries():
    text = "sign_event:30023," * (MAX_PERMISSIONS_TEXT // 17)
    cut = parse_permissions("x" * (MAX_PERMISSIONS_TEXT - len(text) - 12) + "," + text + "sign_event:30024")
    assert {permission.kind for permission in cut.known} == {30023}


@pytest.mark.compliance(spec=SPEC, section="Requested permissions", requirement="method[:params], comma-separated")
def test_permissions_parse_and_print():
    parsed = parse_permissions("nip44_encrypt,sign_event:4, sign_event:0,sign_event,later_method,nip44_encrypt,")
    assert parsed.known == (
        RequestedPermission("nip44_encrypt"),
        RequestedPermission("sign_event", 4),
        RequestedPermission("sign_event", 0),
        RequestedPermission("sign_event"),
    )
    assert str(parsed) == "nip44_encrypt,sign_event:4,sign_event:0,sign_event,later_method"
    assert parse_permissions("sign_event:*").known == (RequestedPermission("sign_event"),)
    assert parse_permissions("") == ((), ())
