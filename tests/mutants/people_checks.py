"""Checks about people: who signs in, who may what, who decides with whom, and what a writer of the database gains."""

from __future__ import annotations

from typing import Final

from tests.mutants.check import Check

BECOMES: Final = "somebody writes the database: a password hash"
BECOMING: Final = "tests/security/test_becoming_a_person.py"
SEALS: Final = "tests/accounts/test_row_seals.py"
APPROVALS: Final = "tests/accounts/staff/approvals/test_services.py"

PEOPLE: Final = (
    # Seals
    Check(
        "nobody signs in with what SQL wrote", BECOMES, "accounts/signin/integrity.py",
        "    if is_whole(user.pk):\n", "    if True:\n",
        (f"{BECOMING}::test_the_password_hash_of_an_own_account_does_not_open_anothers",),
    ),
    Check(
        "a session ends with a row that SQL wrote", BECOMES, "accounts/signin/integrity.py",
        "if not isinstance(user, User) or is_sealed(user):", "if True:",
        (f"{BECOMING}::test_a_session_ends_when_its_account_is_written",),
    ),
    Check(
        "addresses and factors are part of the seal", BECOMES, "accounts/account_seals.py",
        " and user.means == means_of(user_id)", "",
        (f"{BECOMING}::test_a_second_factor_of_an_own_account_proves_nothing_of_another",),
    ),
    Check(
        "no save of ours seals what SQL wrote", BECOMES, "accounts/row_seals.py",
        "    if not seal.fits(stored):\n", "    if False:\n",
        (f"{SEALS}::test_an_account_that_sql_changes_is_not_whole_and_no_save_of_ours_makes_it_so",),
    ),
    Check(
        "no change of a factor seals what SQL wrote", BECOMES, "accounts/account_seals.py",
        "            if was_whole:\n", "            if True:\n",
        (f"{SEALS}::test_an_account_that_sql_changes_is_not_whole_and_no_save_of_ours_makes_it_so",),
    ),
    Check(
        "a place that SQL raised grants nothing", BECOMES, "accounts/permissions.py",
        "if not MEMBERSHIP.fits(membership):", "if False:",
        (f"{SEALS}::test_a_place_that_sql_raises_grants_nothing",),
    ),
    Check(
        "an invitation that SQL wrote leads nowhere", BECOMES, "accounts/services/invitations.py",
        "if found is None or not INVITATION.fits(found):", "if found is None:",
        (f"{SEALS}::test_an_invitation_that_sql_wrote_leads_nowhere",),
    ),
    Check(
        "staff that SQL made are none", BECOMES, "accounts/staff/roles.py",
        " and isinstance(user, User) and is_sealed(user)", "",
        (f"{SEALS}::test_staff_that_sql_made_have_no_role",),
    ),
    Check(
        "a key that SQL gave away is not brought back", BECOMES, "keys/access.py",
        "    if not is_owned(key):\n", "    if False:\n",
        (f"{BECOMING}::test_a_key_that_sql_gave_away_serves_nobody",),
    ),
    Check(
        "a worker serves keys of the owner that we know", BECOMES, "bunker/worker/loader.py",
        'if not is_owned_row(row["key__owner_seal"], *owner):', "if False:",
        ("tests/security/test_database_writer.py::test_a_key_whose_owner_sql_changed_signs_for_nobody",),
    ),
    # Sessions
    Check(
        "a session is of the host it began on", "session fixation", "accounts/middleware.py",
        "if request.session.setdefault(SESSION_TENANT, here) != here:", "if False:",
        ("tests/accounts/signin/test_signin.py", "tests/security/test_account_takeover.py"),
    ),
    Check(
        "a session of a dump opens nothing", "L7", "accounts/sessions.py",
        'return hashlib.sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()[:40]',
        "return session_key[:40]",
        ("tests/security/test_dump_alone.py",),
    ),
    Check(
        "a password is no proof where there is a factor", "a stolen session of staff", "accounts/signin/stepup.py",
        '(step.get("method") == "mfa" or not needs_factor)', "True",
        ("tests/accounts/signin/test_stepup.py",),
    ),
    Check(
        "staff used a second factor in this session", "a stolen session of staff", "accounts/staff/gate.py",
        'return any(step.get("method") == "mfa" for step in records) and bool(', "return bool(",
        ("tests/accounts/staff/test_gate.py",),
    ),
    Check(
        "a password set before the address was proved is wiped", "an account made with the victim",
        "accounts/signin/takeover.py", "    user.set_unusable_password()\n", "    pass\n",
        ("tests/security/test_account_takeover.py",),
    ),
    # Tenants and roles
    Check(
        "a host name counts once it is proved", "a host name that is another", "accounts/resolve.py",
        "filter(host=name, verified_at__isnull=False)", "filter(host=name)",
        ("tests/accounts/test_hosts.py", "tests/portal/test_domains.py"),
    ),
    Check(
        "things of another tenant do not exist", "another tenant's or member's things", "accounts/permissions.py",
        'if getattr(obj, "tenant_id", membership.tenant_id) != membership.tenant_id:', "if False:",
        ("tests/accounts/test_permissions.py",),
    ),
    Check(
        "another member's things are not one's own", "another tenant's or member's things", "accounts/permissions.py",
        "if membership.role in _OTHERS.get(action, ()):", "if True:",
        ("tests/accounts/test_permissions.py",),
    ),
    Check(
        "a role of staff has its own duties", "staff doing what is not their role", "accounts/staff/roles.py",
        "if actor.type == ActorType.STAFF and not actor_has_permission(actor, permission):", "if False:",
        ("tests/accounts/test_staff_services.py",),
    ),
    # Two persons
    Check(
        "nobody decides on their own request", "one of the staff alone", "accounts/two_person_rule.py",
        "    if row.asked_by_id.hex == actor.id:\n        raise OwnApprovalRequest",
        "    if False:\n        raise OwnApprovalRequest",
        (APPROVALS,),
    ),
    Check(
        "an approval is good for once", "one of the staff alone", "accounts/staff/approvals/services.py",
        "        used_at__isnull=True,\n", "",
        (APPROVALS,),
    ),
    Check(
        "an approval is good for what was asked", "one of the staff alone", "accounts/staff/approvals/services.py",
        "        fingerprint=fingerprint(kind, target_id, parameters or {}),\n        decided", "        decided",
        (APPROVALS,),
    ),
    Check(
        "the first decision stands", "one of the staff alone", "accounts/two_person_rule.py",
        "if not rows.filter(pk=row.pk, state=OPEN).update(", "if not rows.filter(pk=row.pk).update(",
        (APPROVALS, "tests/accounts/test_two_person_rule.py"),
    ),
)  # fmt: skip
