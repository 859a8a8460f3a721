"""One table of NIP-46 methods (keycast.nostr.nip46): everybody who speaks of methods speaks of all of them."""

from __future__ import annotations

import typing

import pytest

from bunker import methods
from bunker.policy import TEMPLATES, RequestedUse, compile_policy, describe, parse_document
from bunker.portal.requested_permissions import phrase
from bunker.traffic.counts import SIGNED, USED
from bunker.worker.stats import Answered, WorkerStats
from keycast.audit.descriptions import sentence
from keycast.audit.tags import AuditTag, of_method
from keycast.nostr.nip46 import CRYPT_METHODS, KEY_METHODS, METHODS, Nip46Method, RequestedPermission, Use
from keys.signing.ciphers import cipher_of
from keys.signing.isolated import messages


def test_the_table_has_a_row_for_every_method_and_no_other() -> None:
    assert list(METHODS) == [method.value for method in Nip46Method]
    assert set(KEY_METHODS) == {Nip46Method.SIGN_EVENT, *CRYPT_METHODS}


@pytest.mark.parametrize("method", list(Nip46Method))
def test_every_method_can_be_asked_for_and_has_an_audit_tag_with_a_sentence(method: Nip46Method) -> None:
    assert method in methods.METHODS
    assert of_method(method) is not AuditTag.UNKNOWN_METHOD
    assert sentence(of_method(method)) == METHODS[method].sentence != ""


@pytest.mark.parametrize("name", KEY_METHODS)
def test_every_method_that_uses_a_key_has_words_and_is_decided_by_policies(name: str) -> None:
    row = METHODS[name]
    assert row.wish
    assert row.grant
    assert row.doing
    bounds = {"kinds": [1]} if row.use is Use.SIGN else {"peers": "any"}
    document = {"version": 1, "rules": [{"effect": "allow", "methods": [name], **bounds}]}
    assert row.grant.partition(" ")[0] in describe(parse_document(document))[0]
    denied = compile_policy(TEMPLATES["read-only"].document).decide(RequestedUse(name, "0" * 64))
    assert denied.reason.startswith(row.doing)
    assert "nothing Keycast knows" not in phrase(RequestedPermission(name))


@pytest.mark.parametrize("name", CRYPT_METHODS)
def test_every_method_that_encrypts_or_decrypts_has_a_cipher_and_a_word_on_the_signers_socket(name: str) -> None:
    assert callable(cipher_of(name).apply)
    assert name in typing.get_args(messages.Crypt)


@pytest.mark.parametrize("name", KEY_METHODS)
def test_uses_of_the_key_are_counted_as_such(name: str) -> None:
    stats = WorkerStats()
    counted: list[int] = []
    stats.tally.count = lambda chain, kind, seconds=None: counted.append(kind)  # type: ignore[method-assign]
    stats.answer("t", name, Answered.OK, 0.0)
    assert counted == [SIGNED if METHODS[name].use is Use.SIGN else USED]
