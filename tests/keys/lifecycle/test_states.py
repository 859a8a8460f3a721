"""The life of a key, exhaustively: every state times every step."""

from __future__ import annotations

import pytest

from keys.errors import InvalidTransition, KeyLocked, KeyUnavailable
from keys.lifecycle.states import TRANSITIONS, KeyTransition, after, allows, require_active
from keys.models import KeyState

P, A, L, D, S, X, F = (
    KeyState.PENDING,
    KeyState.ACTIVE,
    KeyState.LOCKED,
    KeyState.DISABLED,
    KeyState.DESTRUCTION_SCHEDULED,
    KeyState.DESTROYED,
    KeyState.FAILED,
)
STEPS = (
    KeyTransition.FINISH,
    KeyTransition.FAIL,
    KeyTransition.LOCK,
    KeyTransition.UNLOCK,
    KeyTransition.DISABLE,
    KeyTransition.ENABLE,
    KeyTransition.SCHEDULE_DESTRUCTION,
    KeyTransition.CANCEL_DESTRUCTION,
    KeyTransition.DESTROY,
    KeyTransition.REMOVE,
)
#      finish fail  lock  unlock disable enable schedule cancel destroy remove
TABLE = {
    P: (A, F, None, None, None, None, None, None, None, None),
    A: (None, None, L, None, D, None, S, None, None, None),
    L: (None, None, None, A, D, None, S, None, None, None),
    D: (None, None, None, None, None, A, S, None, None, None),
    S: (None, None, None, None, None, None, None, D, X, None),
    X: (None,) * 10,
    F: (*(None,) * 9, X),
}
CASES = [(state, step, result) for state, row in TABLE.items() for step, result in zip(STEPS, row, strict=True)]


def test_the_table_names_every_state_and_every_step():
    assert set(TABLE) == set(KeyState)
    assert set(STEPS) == set(KeyTransition)
    assert len(TRANSITIONS) == sum(result is not None for *_, result in CASES)


@pytest.mark.parametrize(("state", "step", "result"), CASES)
def test_each_step_from_each_state(state, step, result):
    assert allows(state, step) == (result is not None)
    if result is None:
        with pytest.raises(InvalidTransition):
            after(state, step)
    else:
        assert after(str(state), step) == result


@pytest.mark.parametrize("state", [P, D, S, X, F])
def test_a_key_that_is_not_active_is_not_used(state):
    with pytest.raises(KeyUnavailable):
        require_active(state)


def test_a_locked_key_says_that_it_is_locked():
    with pytest.raises(KeyLocked):
        require_active(L)
    require_active(A)
