"""The bytes that are hashed. These constants are the format: an offline verifier relies on them."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.audit.chain import genesis, row_hash

BODY = ("platform", 1, 1764000000000000, "keys:key:created", "ok", "user", "a" * 32, "Zoë", "b" * 32, "", "", '{"n":1}')
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
BODIES = st.tuples(TEXT, *[st.integers(-(2**63), 2**63 - 1)] * 2, *[TEXT] * 9)


def test_genesis_is_the_hash_of_the_chains_name() -> None:
    assert genesis("platform") == hashlib.sha256(b"keycast.audit.genesis.1\x00platform").digest()
    assert genesis("platform").hex() == "b9e761e5db105cfebaeffa48c7aaa2e0ccf84dbcc36af1d1cddfb42a2098c778"


def test_a_known_row_has_its_known_hash() -> None:
    preimage = (
        b'["keycast.audit.row.1","platform",1,1764000000000000,"keys:key:created","ok","user","' + b"a" * 32 + b'",'
        b'"Zo\xc3\xab","' + b"b" * 32 + b'","","","{\\"n\\":1}"]'
    )
    assert row_hash(genesis("platform"), BODY) == hashlib.sha256(genesis("platform") + preimage).digest()
    assert (
        row_hash(genesis("platform"), BODY).hex() == "6cf799955215def35d32b97d6b93939e985732086220cf4d574bf9b9f5c1fa85"
    )


@given(BODIES)
def test_the_standard_library_alone_can_verify(body: tuple[str, int, int]) -> None:
    text = json.dumps(["keycast.audit.row.1", *body], ensure_ascii=False, separators=(",", ":"))
    assert row_hash(bytes(32), body) == hashlib.sha256(bytes(32) + text.encode()).digest()  # type: ignore[arg-type]


@pytest.mark.parametrize("column", range(len(BODY)))
def test_every_column_counts(column: int) -> None:
    changed = [*BODY]
    changed[column] = changed[column] + type(changed[column])(1)  # type: ignore[operator]
    assert row_hash(genesis("platform"), tuple(changed)) != row_hash(genesis("platform"), BODY)  # type: ignore[arg-type]


def test_text_cannot_move_from_one_column_to_the_next() -> None:
    left = (*BODY[:7], "ab", "", *BODY[9:])
    right = (*BODY[:7], "a", "b", *BODY[9:])
    assert row_hash(bytes(32), left) != row_hash(bytes(32), right)  # type: ignore[arg-type]
