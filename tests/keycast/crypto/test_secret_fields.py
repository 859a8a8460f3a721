"""Secret fields of a form are taken out of its body as bytes, and nothing of them is left in it."""

from __future__ import annotations

import pytest

from keycast.crypto.secret import SecretBytes
from keycast.crypto.secret_fields import take


def taken(body: bytes, *names: str) -> tuple[bytes, dict[str, bytes]]:
    buffer = bytearray(body)
    found = take(buffer, names or ("secret",))
    assert all(isinstance(value, SecretBytes) for value in found.values())
    return bytes(buffer), {name: bytes(value.view()) for name, value in found.items()}


@pytest.mark.parametrize("body", [b"", b"&", b"secret", b"=secret", b"x=secret", b"xsecret=1&secretx=2", b"a=b&&c=d"])
def test_a_body_without_the_field_stays_as_it_is(body: bytes) -> None:
    assert taken(body) == (body, {})


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"nsec1abc", b"nsec1abc"),
        (b"a+b", b"a b"),
        (b"%41%2b%26", b"A+&"),
        (b"%C3%A9", "é".encode()),
        (b"100%", b"100%"),
        (b"%4", b"%4"),
        (b"%zz1", b"%zz1"),
        (b"a=b", b"a=b"),
    ],
)
def test_a_value_is_decoded_and_covered_in_the_body(sent: bytes, meant: bytes) -> None:
    body, found = taken(b"name=Mine&secret=" + sent + b"&understood=on")
    assert found == {"secret": meant}
    assert body == b"name=Mine&secret=" + b"*" * len(sent) + b"&understood=on"


def test_what_is_empty_or_blank_still_looks_so_to_the_form() -> None:
    assert taken(b"secret=&name=x") == (b"secret=&name=x", {"secret": b""})
    assert taken(b"secret=++") == (b"secret=++", {"secret": b"  "})


def test_of_a_field_sent_twice_the_last_counts_and_both_are_covered() -> None:
    assert taken(b"secret=one&secret=two") == (b"secret=***&secret=***", {"secret": b"two"})


def test_each_of_several_fields_is_taken() -> None:
    body, found = taken(b"secret=s&password=p&name=n", "secret", "password")
    assert found == {"secret": b"s", "password": b"p"}
    assert body == b"secret=*&password=*&name=n"
