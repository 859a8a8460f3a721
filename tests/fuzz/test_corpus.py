"""Whatever is read refuses by its own errors: every input that was ever kept, and mutations of them."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.fuzz import corpus
from tests.fuzz.mutating import mutated
from tests.fuzz.targets import TARGETS, Target

MUTATIONS = 600
"""Of each target; all together take some seconds. ``python -m tests.fuzz --seconds 3600`` looks further."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_is_read_refuses_by_its_own_errors_alone(target: Target) -> None:
    pool = [*target.seeds, *corpus.kept(target.name)]
    draw = random.Random(target.name)  # noqa: S311 -- not for keys
    for data in (*pool, *(mutated(draw, pool) for _ in range(MUTATIONS))):
        with suppress(*target.refusals):
            target.read(data)


def test_every_target_reads_its_first_seed() -> None:
    """A seed that is refused at the door would fuzz the door alone."""
    refused = []
    for target in TARGETS:
        try:
            target.read(target.seeds[0])
        except target.refusals:
            refused.append(target.name)
    assert refused == ["signer reply"]
