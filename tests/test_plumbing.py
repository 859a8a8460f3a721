"""Which tests run where."""

from __future__ import annotations

from tests import plumbing


def test_what_is_named_by_its_path_is_there() -> None:
    same = {*plumbing.SAME_ON_EVERY_DATABASE, *plumbing.SERVERS_ON_A_DATABASE, *plumbing.ALL_THE_SAME_DIFFERENT}
    named = sorted(same | plumbing.NOT_FAST)
    assert [name for name in named if not (plumbing.TESTS / name).exists()] == []
