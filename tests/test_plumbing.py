"""Which tests run where."""

from __future__ import annotations

import ast

import pytest

from tests import plumbing

NAMED = {
    *plumbing.SAME_ON_EVERY_DATABASE,
    *plumbing.SERVERS_ON_A_DATABASE,
    *plumbing.ALL_THE_SAME_DIFFERENT,
    *plumbing.NOT_FAST,
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_what_is_named_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    assert (plumbing.TESTS / path).exists()
    if function:
        module = ast.parse((plumbing.TESTS / path).read_text(encoding="utf-8"))
        assert function in {getattr(node, "name", "") for node in module.body}


@pytest.mark.parametrize("name", plumbing.ALL_THE_SAME_DIFFERENT)
def test_an_exception_is_one_of_something_that_is_the_same(name: str) -> None:
    path = name.partition("::")[0]
    around = {str(parent) for parent in plumbing.TESTS.joinpath(path).relative_to(plumbing.TESTS).parents}
    assert {path, *around} & plumbing.SAME_ON_EVERY_DATABASE.keys()


def test_pages_are_left_out_of_the_second_database_only_where_a_walk_through_all_of_them_is_not() -> None:
    """The rule that tests/plumbing.py states with PAGE."""
    pages = {name for name, why in plumbing.SAME_ON_EVERY_DATABASE.items() if why == plumbing.PAGE}
    assert pages == {"accounts/signin", "keycast/console", "portal", "security/test_account_takeover.py"}
    walks = {name for name, why in plumbing.ALL_THE_SAME_DIFFERENT.items() if why.startswith("opens all pages")}
    assert {name.rpartition("/test_")[0] for name in walks} == {"keycast/console", "portal"}
    assert "security/test_urlconf.py" not in plumbing.SAME_ON_EVERY_DATABASE  # the walk below /account/


@pytest.mark.django_db
class TestOf:
    """What the rule says of a test that uses the database, wherever it would lie."""

    @pytest.mark.parametrize(
        ("place", "is_run_on_both"),
        [
            ("accounts/test_services.py", True),
            ("accounts/signin/test_signin.py", False),
            ("bunker/worker/test_kill.py", True),
            ("e2e/test_demo.py", False),
            ("e2e/test_processes_apart.py", True),
            ("keycast/console/test_roles.py", False),
            ("keycast/console/test_many_keys.py", True),
            ("portal/test_domains.py", False),
            ("portal/test_sweep.py", True),
        ],
    )
    def test_what_can_differ_on_another_database_is_run_on_both(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, place: str, is_run_on_both: bool
    ) -> None:
        monkeypatch.setattr(request.node, "path", plumbing.TESTS / place)
        assert plumbing.can_differ(request.node) is is_run_on_both


def test_what_uses_no_database_is_the_same_on_every_one(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.node, "path", plumbing.TESTS / "keycast/crypto/test_ecdsa.py")
    assert not plumbing.can_differ(request.node)


def test_files_with_long_tests_come_first_and_stay_whole(request: pytest.FixtureRequest) -> None:
    def test_of(file: str, *markers: str) -> pytest.Item:
        item = pytest.Function.from_parent(request.node.parent, name=request.node.name)
        item.path = plumbing.TESTS / file
        item.own_markers[:] = [getattr(pytest.mark, marker).mark for marker in markers]
        return item

    quick, browser, slow = "test_quick.py", "test_browser.py", "test_slow.py"
    items = [test_of(quick), test_of(browser, "needs_browser"), test_of(quick), test_of(slow), test_of(slow, "slow")]
    plumbing.start_with_long_files(items)
    assert [item.path.name for item in items] == [slow, slow, browser, quick, quick]
