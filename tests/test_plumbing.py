"""Which tests run where."""

from __future__ import annotations

from tests import plumbing


def test_what_is_said_to_be_the_same_on_every_database_is_there() -> None:
    named = [*plumbing.SAME_ON_EVERY_DATABASE, *plumbing.SERVERS_ON_A_DATABASE, *plumbing.ALL_THE_SAME_DIFFERENT]
    assert [name for name in named if not (plumbing.TESTS / name).exists()] == []
