"""Checks about keys that people bring: what a page made of one fits, is for this place, and is taken once."""

from __future__ import annotations

from typing import Final

from tests.mutants.check import Check

CARRIED: Final = "a sealed half is carried to another tenant"
HALVES: Final = "keys/signing/sealed_halves.py"
OPENING: Final = ("tests/keys/signing/test_sealed_halves.py",)

IMPORTS: Final = (
    Check(
        "a sealed half is for one page, key and tenant", CARRIED, HALVES,
        "info=said.info(role)", 'info=b""',
        OPENING,
    ),
    Check(
        "halves and tweak make the key that was said", CARRIED, HALVES,
        "if made.public_key != self.public_key:", "if False:",
        OPENING,
    ),
    Check(
        "a half is the one that was said", CARRIED, HALVES,
        'if public_point(keypair) != b"\\x02" + expected:', "if False:",
        OPENING,
    ),
    Check(
        "a sealed half is taken once", CARRIED, "keys/cosigner/sealed_imports.py",
        "if named in self._opened:", "if False:",
        ("tests/keys/cosigner/test_sealed_imports.py",),
    ),
    Check(
        "a page is good for one attempt", CARRIED, "keys/portal/importing.py",
        "request.session.pop(_SESSION, {})", "request.session.get(_SESSION, {})",
        ("tests/portal/test_importing_split.py",),
    ),
    Check(
        "a page is this tenant's, and not too old", CARRIED, "keys/split/split_import.py",
        "if begun.tenant_id != tenant.id or not 0 <= clock() - begun.at <= GOOD_FOR:", "if False:",
        ("tests/portal/test_importing_split.py",),
    ),
    Check(
        "a secret field is taken out of the body", "an imported key is read from the memory",
        "keycast/serving/guard.py",
        "found = secret_fields.take(body, fields)", "found = secret_fields.take(bytearray(), fields)",
        ("tests/keycast/serving/test_guard.py",),
    ),
)  # fmt: skip
