"""The seam that tests kill processes by."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT

TWICE = "from keycast.base import crash; crash.point('other'); crash.point('step'); print(1); crash.point('step')"


def run(environment: str | None, step: str) -> tuple[int, str]:
    variables = {"PYTHONPATH": str(ROOT), "KEYCAST_TEST_CRASH_AT": step}
    if environment is not None:
        variables["KEYCAST_ENVIRONMENT"] = environment
    done = subprocess.run(
        [sys.executable, "-u", "-c", TWICE], env=variables, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("environment", ["production", "development", None])
def test_outside_tests_no_process_dies_of_it(environment: str | None) -> None:
    assert run(environment, "step") == (0, "1\n")


@pytest.mark.parametrize(("step", "said"), [("step", ""), ("step:1", ""), ("step:2", "1\n")])
def test_a_process_dies_at_the_step_and_the_time_asked_for(step: str, said: str) -> None:
    assert run("test", step) == (-9, said)


@pytest.mark.parametrize("step", ["", "never", "step:3"])
def test_a_step_that_is_not_reached_kills_nothing(step: str) -> None:
    assert run("test", step) == (0, "1\n")
