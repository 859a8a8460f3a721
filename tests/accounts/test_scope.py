"""Work for one tenant sees that tenant's rows alone, and where the scope is left off a comment says why."""

from __future__ import annotations

import io
import itertools
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from django_scopes import scope
from django_scopes.exceptions import ScopeError

from accounts.models import Membership, Tenant, TenantDomain
from accounts.selectors import get_domain, members_of
from accounts.services import invite, withdraw_invitation
from keycast.base.errors import NotFound
from tests.paths import ROOT

from .conftest import ACTOR, MakeMember

PRODUCT: Final = ("accounts", "bunker", "keycast", "keys")


def _uses(source: str) -> Iterator[tuple[int, bool]]:
    """Line of each ``scopes_disabled()``, and whether a comment stands on it or on the line above."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    reasons = {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and len(token.string.lstrip("# ").split()) >= 3 and "noqa" not in token.string
    }
    for token, following in itertools.pairwise(tokens):
        if token.type == tokenize.NAME and token.string == "scopes_disabled" and following.string == "(":
            line = token.start[0]
            yield line, bool({line, line - 1} & reasons)


def _uses_in_product() -> Iterator[tuple[str, bool]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, has_reason in _uses(path.read_text(encoding="utf-8")):
                yield f"{Path(path).relative_to(ROOT)}:{line}", has_reason


def test_a_scope_left_off_without_a_reason_is_found() -> None:
    without = "with scopes_disabled():\n    pass\n"
    assert list(_uses(without)) == [(1, False)]
    assert list(_uses(f"# noqa\n{without}")) == [(2, False)]
    assert list(_uses(f"# Workers serve every tenant.\n{without}")) == [(2, True)]


def test_wherever_the_scope_is_left_off_a_comment_says_why() -> None:
    assert [place for place, has_reason in _uses_in_product() if not has_reason] == []


@pytest.mark.django_db
def test_without_a_scope_a_tenants_rows_are_refused(news: Tenant) -> None:
    with pytest.raises(ScopeError):
        TenantDomain.objects.filter(tenant=news).first()


@pytest.mark.django_db
def test_inside_one_tenants_scope_another_tenants_rows_are_not_found(
    news: Tenant, club: Tenant, make_member: MakeMember
) -> None:
    theirs = make_member("carol@example.org", tenant=club)
    with scope(tenant=news):
        assert not Membership.objects.filter(pk=theirs.pk).exists()
        assert not Membership.objects.filter(tenant=club).exists()
        assert not Membership.objects.filter(tenant=club).update(role="owner")
    assert [place.pk for place in members_of(club)] == [theirs.pk]


@pytest.mark.django_db
def test_a_selector_finds_no_row_of_another_tenant(news: Tenant, club: Tenant) -> None:
    with scope(tenant=club):
        theirs = TenantDomain.objects.get()
    with scope(tenant=news), pytest.raises(NotFound):
        get_domain(news, theirs.pk)
    assert get_domain(club, theirs.pk) == theirs


@pytest.mark.django_db
def test_a_service_enters_its_own_tenants_scope_whatever_it_was_called_in(news: Tenant, club: Tenant) -> None:
    with scope(tenant=news):
        invitation = invite(actor=ACTOR, tenant=club, email="dave@example.org", role="member", by=None)
        withdraw_invitation(actor=ACTOR, invitation=invitation, by=None)
        assert not Membership.objects.filter(tenant=club).exists()
    with scope(tenant=club):
        invitation.refresh_from_db()
    assert invitation.withdrawn_at is not None
