"""A key that was replaced reads, and says where its owner went; nothing that an app was granted changes that."""

from __future__ import annotations

import pytest

from bunker.policy import TEMPLATES, Allow, Deny, RequestedUse, compile_policy

ME, PEER = "aa" * 32, "bb" * 32
OPEN = {
    "version": 1,
    "rules": [
        {"effect": "allow", "methods": ["sign_event"], "kinds": "ordinary"},
        {"effect": "allow", "methods": ["sign_event"], "kinds": [0, 3, 13, 22242]},
        {
            "effect": "allow",
            "methods": ["nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"],
            "peers": "any",
        },
    ],
}


@pytest.mark.parametrize("kind", [1, 3, 5, 7, 13, 1059, 30023])
def test_a_replaced_key_does_not_sign_content_events(kind: int) -> None:
    call = RequestedUse("sign_event", ME, kind=kind)
    assert isinstance(compile_policy(OPEN, is_replaced=True).decide(call), Deny)


@pytest.mark.parametrize("method", ["nip04_encrypt", "nip44_encrypt"])
def test_a_replaced_key_does_not_encrypt(method: str) -> None:
    denied = compile_policy(OPEN, is_replaced=True).decide(RequestedUse(method, ME, peer=PEER))
    assert isinstance(denied, Deny)
    assert "replaced" in denied.reason


def test_a_replaced_key_grants_nothing_beyond_the_app_policy() -> None:
    reading = TEMPLATES["read-only"].document
    for kind in (0, 22242):
        assert isinstance(
            compile_policy(reading, is_replaced=True).decide(RequestedUse("sign_event", ME, kind=kind)), Deny
        )


@pytest.mark.parametrize("method", ["nip04_decrypt", "nip44_decrypt"])
def test_a_replaced_key_decrypts(method: str) -> None:
    assert isinstance(compile_policy(OPEN, is_replaced=True).decide(RequestedUse(method, ME, peer=PEER)), Allow)


@pytest.mark.parametrize("kind", [0, 22242])
def test_a_replaced_key_signs_profile_and_relay_authentication_events(kind: int) -> None:
    assert isinstance(compile_policy(OPEN, is_replaced=True).decide(RequestedUse("sign_event", ME, kind=kind)), Allow)


def test_a_key_in_use_is_not_bound_by_this() -> None:
    assert isinstance(compile_policy(OPEN).decide(RequestedUse("sign_event", ME, kind=1)), Allow)
