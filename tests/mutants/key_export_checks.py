"""Checks about keys that leave: who asks, who takes, when, and what ends a request."""

from __future__ import annotations

from typing import Final

from tests.mutants.check import Check

SERVICES: Final = "keys/exporting/services.py"
EXPORTS: Final = "tests/security/test_exports.py"
SIGNER: Final = "tests/keys/signing/test_exporting.py"

KEY_EXPORTS: Final = (
    Check(
        "only the owner in person exports", "K11", SERVICES,
        "    if actor.type != ActorType.USER or actor.id != row.user_id.hex:\n", "    if False:\n",
        (f"{EXPORTS}::test_no_one_but_the_owner_asks_or_takes",),
    ),
    Check(
        "an export takes a second factor", "K11", "keys/exporting/rules.py",
        "    if not has_second_factor(user):\n", "    if False:\n",
        (f"{EXPORTS}::test_an_account_without_a_second_factor_asks_for_nothing",),
    ),
    Check(
        "asking takes a fresh proof", "K11", "keys/portal/exporting.py",
        "            return detour\n        return _ask(request, key)",
        "            pass\n        return _ask(request, key)",
        (f"{EXPORTS}::test_nobody_asks_without_proving_the_second_factor_now",),
    ),
    Check(
        "an export waits", "K11", SERVICES,
        "    if timezone.now() < export.due_at:\n", "    if False:\n",
        (f"{EXPORTS}::test_nothing_is_given_out_before_its_time",),
    ),
    Check(
        "an export belongs to one session", "K11", SERVICES,
        "    if not hmac.compare_digest(export.session_hash, session_hash):\n", "    if False:\n",
        (f"{EXPORTS}::test_another_session_and_a_stolen_session_cookie_get_nothing",),
    ),
    Check(
        "the session is more than its cookie", "K11", "keys/portal/exporting.py",
        'return hashlib.sha256(f"{in_session} {in_cookie}".encode()).hexdigest()',
        "return hashlib.sha256(in_session.encode()).hexdigest()",
        (f"{EXPORTS}::test_the_cookie_is_compared_too",),
    ),
    Check(
        "a request has a seal", "K11", SERVICES,
        "    if not seals.is_ours(export):\n        return ALTERED\n", "",
        (f"{EXPORTS}::test_a_request_that_was_written_past_us_ends",),
    ),
    Check(
        "a tenant's rule has a seal", "K11", "keys/exporting/rules.py",
        " or not EXPORT_RULE.fits(tenant)", "",
        (f"{EXPORTS}::test_what_is_not_allowed_is_neither_asked_for_nor_taken",),
    ),
    Check(
        "a stop of the key ends its export", "K11", SERVICES,
        "        if found is not None and (found.key.state", "        if False and (found.key.state",
        (f"{EXPORTS}::test_a_request_that_was_ended_gives_nothing_out",),
    ),
    Check(
        "other means to sign in end an export", "K11", SERVICES,
        'return "" if is_same else CREDENTIALS_CHANGED', 'return ""',
        (f"{EXPORTS}::test_a_request_that_was_ended_gives_nothing_out",),
    ),
    Check(
        "what is cancelled meanwhile is thrown away", "K11", SERVICES,
        "    if present.state != ExportState.TAKING:\n        raise", "    if False:\n        raise",
        (f"{EXPORTS}::test_what_is_cancelled_while_the_signer_works_is_thrown_away",),
    ),
    Check(
        "the signer exports nothing unless it is told to", "K11", "keys/signing/exporting.py",
        "    if not settings.KEY_EXPORT:\n", "    if False:\n",
        (f"{SIGNER}::test_a_signer_of_its_own_asks_its_own_environment",),
    ),
    Check(
        "the signer exports no split key", "K11", "keys/signing/exporting.py",
        '    if key.key_mode != "encrypted" or key.hsm is not None or key.sealed is None:\n',
        "    if key.sealed is None:\n",
        (f"{SIGNER}::test_keys_of_an_hsm_and_halves_do_not_leave",),
    ),
)  # fmt: skip
