"""What each method takes, asks of the policy, and answers (NIP-46). The wire is tested elsewhere."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from bunker.methods import (
    METHODS,
    BadParameters,
    InfoMethod,
    KeyMethod,
    RequestContext,
    UnknownMethod,
    prepare,
)
from bunker.methods.connect import Connect
from keycast.audit.tags import of_method
from keycast.nostr.nip46 import Nip46Method
from keys.refs import KeyRef

USER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
SIGNER = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
CLIENT = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"
NOTE = {"kind": 1, "content": "hello", "tags": [], "created_at": 1}


def subject(**changes: Any) -> RequestContext:
    key = KeyRef(uuid.uuid4(), uuid.uuid4(), USER, "encrypted", "")
    given = {"transport_id": uuid.uuid4(), "signer_public_key": SIGNER, "connection_id": uuid.uuid4()} | changes
    return RequestContext(key, CLIENT, **given)


def test_every_method_of_the_specification_is_there_and_no_other() -> None:
    assert set(METHODS) == {method.value for method in Nip46Method}
    for name in METHODS:
        assert of_method(name).value == f"bunker:{name}:request"


@pytest.mark.parametrize("name", ["", "get_relays", "__class__", "prepare", "SIGN_EVENT"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownMethod):
        prepare(name, [], subject())


@pytest.mark.parametrize("name", ["nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"])
@pytest.mark.parametrize("params", [[], [USER], [USER, ""], ["00" * 32, "x"], [USER.upper(), "x"], ["npub1x", "x"]])
def test_encrypting_and_decrypting_refuse_bad_peers_and_empty_texts(name: str, params: list[str]) -> None:
    with pytest.raises(BadParameters):
        prepare(name, params, subject())


@pytest.mark.parametrize(
    "template",
    ["", "[]", "5", '{"kind":1}', json.dumps({**NOTE, "kind": 65537}), json.dumps({**NOTE, "pubkey": SIGNER})],
)
def test_sign_event_refuses_what_is_no_template_of_this_user(template: str) -> None:
    with pytest.raises(BadParameters):
        prepare("sign_event", [template], subject())


def test_sign_event_asks_the_policy_about_the_event_that_it_would_sign() -> None:
    operation = prepare("sign_event", [json.dumps({**NOTE, "pubkey": USER})], subject(uses=7))
    assert isinstance(operation, KeyMethod)
    assert (operation.call.kind, operation.call.content, operation.call.uses) == (1, "hello", 7)
    assert operation.facts == {"kind": 1, "size": 5}


async def test_a_cipher_names_the_app_that_asks() -> None:
    class Keys:
        async def crypt(self, *asked: Any) -> str:
            self.asked = asked
            return "text"

    keys, context = Keys(), subject()
    operation = prepare("nip44_decrypt", [USER, "payload"], context)
    assert isinstance(operation, KeyMethod)
    assert await operation.run(keys, context.key) == "text"  # type: ignore[arg-type]
    assert keys.asked == (context.key, "nip44_decrypt", USER, "payload", CLIENT, None)


def test_connect_refuses_the_key_of_another_signer() -> None:
    with pytest.raises(BadParameters):
        prepare("connect", ["9" * 64, "secret"], subject())


@pytest.mark.parametrize("named", ["", SIGNER, SIGNER.upper(), USER, CLIENT, "undefined", "npub1x", "*"])
def test_connect_takes_whatever_else_a_client_names_first(named: str) -> None:
    operation = prepare("connect", [named, "secret"], subject())
    assert isinstance(operation, Connect)
    assert operation.secret == "secret"


def test_connect_takes_metadata_in_the_place_of_permissions() -> None:
    operation = prepare("connect", [SIGNER, "secret", '{"name":"App"}'], subject())
    assert isinstance(operation, Connect)
    assert (operation._permissions, operation._metadata) == ("", '{"name":"App"}')


def test_connect_takes_missing_parameters_as_empty() -> None:
    for given in ([], [SIGNER]):
        operation = prepare("connect", given, subject())
        assert isinstance(operation, Connect)
        assert operation.secret == ""


def test_switch_relays_answers_null_as_a_string_unless_something_changes() -> None:
    here = ("wss://a.example", "wss://b.example")
    for offered in (None, lambda: None, lambda: list(here)):
        operation = prepare("switch_relays", [], subject(relays=here, offered_relays=offered))
        assert isinstance(operation, InfoMethod)
        assert operation.result == "null"
    changed = prepare("switch_relays", [], subject(relays=here, offered_relays=lambda: [here[1]]))
    assert isinstance(changed, InfoMethod)
    assert json.loads(changed.result) == [here[1]]


def test_ping_and_get_public_key_answer_at_once() -> None:
    ping, who = prepare("ping", ["x"], subject()), prepare("get_public_key", [], subject())
    assert isinstance(ping, InfoMethod)
    assert isinstance(who, InfoMethod)
    assert (ping.result, who.result) == ("pong", USER)
