"""Which subscriptions serve which keys."""

from __future__ import annotations

import pytest

from bunker.relays.event_checks import KIND
from bunker.relays.subscription_plan import WIDE, SubscriptionPlan


def keys(*numbers: int) -> list[str]:
    return [f"{number:064x}" for number in numbers]


def covered(plan: SubscriptionPlan) -> set[str]:
    return {key for name in plan.names for key in plan.keys_of(name)}


def test_no_keys_need_no_subscription() -> None:
    plan = SubscriptionPlan(2, 2)
    assert plan.update([]) == ([], [])
    assert plan.names == []


def test_keys_are_served_in_chunks() -> None:
    plan = SubscriptionPlan(2, 3)
    assert plan.update(keys(1, 2, 3)) == (["k0", "k1"], [])
    assert plan.filter("k0", 100) == {"kinds": [KIND], "since": 100, "#p": keys(1, 2)}
    assert covered(plan) == set(keys(1, 2, 3))


def test_a_new_key_changes_one_subscription_only() -> None:
    plan = SubscriptionPlan(2, 3)
    plan.update(keys(1, 2, 3))
    assert plan.update(keys(1, 2, 3, 4)) == (["k1"], [])
    assert plan.update(keys(1, 2, 3, 4, 5)) == (["k2"], [])


def test_a_key_that_goes_is_unsubscribed_and_its_place_used_again() -> None:
    plan = SubscriptionPlan(2, 3)
    plan.update(keys(1, 2, 3))
    assert plan.update(keys(1, 2)) == ([], ["k1"])
    assert plan.update(keys(2, 9)) == (["k0"], [])
    assert covered(plan) == set(keys(2, 9))


def test_many_keys_are_served_by_the_whole_kind() -> None:
    plan = SubscriptionPlan(2, 2)
    plan.update(keys(1, 2, 3))
    assert plan.update(keys(1, 2, 3, 4, 5)) == ([WIDE], ["k0", "k1"])
    assert plan.filter(WIDE, 7) == {"kinds": [KIND], "since": 7}
    assert plan.update(keys(*range(10))) == ([], [])
    assert plan.update(keys(1)) == (["k0"], [WIDE])


@pytest.mark.parametrize("count", [5, 1000])
def test_a_relay_that_refuses_the_whole_kind_gets_larger_chunks(count: int) -> None:
    plan = SubscriptionPlan(2, 2)
    wanted = keys(*range(count))
    plan.update(wanted)
    opened, closed = plan.refuse_wide(wanted)
    assert (opened, closed) == (["k0", "k1"], [WIDE])
    assert covered(plan) == set(wanted)
    assert len(plan.names) == 2
