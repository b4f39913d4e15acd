"""Timing in turns: what the numbers say, and what a contender may do to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import CompileError
from compiler.measure.contender import Contender
from compiler.measure.paired import Timings, measure, ratio

SLEEPER = """
import os, time

def make(milliseconds):
    return lambda: time.sleep(milliseconds / 1000)

def broken():
    raise RuntimeError("no such model")

def dying():
    calls = []
    def run():
        calls.append(1)
        if len(calls) > 1:
            os._exit(3)
    return run
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> str:
    file = tmp_path / "sleeper.py"
    file.write_text(SLEEPER)
    return str(file)


def test_twice_as_long_is_twice_as_long(sleeper: str) -> None:
    with Contender("slow", f"{sleeper}:make", 8) as slow, Contender("quick", f"{sleeper}:make", 4) as quick:
        found = measure([slow, quick], rounds=5, seconds=0.03).ratio("slow", "quick")
    assert found.low <= found.value <= found.high
    assert 1.6 < found.value < 2.4  # sleeping is no matter of the machine's speed
    assert found.decided


def test_a_burst_has_at_least_three_calls_and_at_most_what_was_asked(sleeper: str) -> None:
    with Contender("x", f"{sleeper}:make", 1) as contender:
        assert len(contender.burst(0)) == 3
        assert len(contender.burst(10, most=5)) == 5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not hold a process to some cores")
def test_a_contender_is_held_to_its_cores_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "cores.py"
    file.write_text("import os\nfound = os.sched_getaffinity(0)\ndef make():\n    return lambda: sorted(found)\n")
    core = min(os.sched_getaffinity(0))
    with Contender("x", f"{file}:make", cores=[core]) as contender:
        assert contender.answer() == [core]


@pytest.mark.parametrize("make", ["broken", "dying"])
def test_a_contender_that_fails_says_so(sleeper: str, make: str) -> None:
    with pytest.raises(CompileError) as caught, Contender("unlucky", f"{sleeper}:{make}") as contender:
        contender.burst(0.01)
    assert caught.value.code == "measurement-failed"
    assert make != "broken" or "no such model" in str(caught.value.why)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        machine = np.exp(0.3 * rng.standard_normal(25))  # its speed in each round hurts both alike
        ours, theirs = (machine * np.exp(0.05 * rng.standard_normal(25)) for _ in range(2))
        found = ratio(1.1 * ours, theirs)
        held += found.low <= 1.1 <= found.high
    assert 180 <= held <= 200


def test_equal_contenders_are_not_told_apart() -> None:
    timings = Timings({"a": [1.0, 2.0, 3.0, 4.0], "b": [1.01, 1.98, 3.03, 3.96]})
    assert not timings.ratio("a", "b").decided
    assert timings.ratio("a", "a").value == 1


def test_rounds_are_added_until_it_is_enough(sleeper: str) -> None:
    with Contender("x", f"{sleeper}:make", 0) as contender:
        done = measure([contender], rounds=2, seconds=0, enough=lambda found: len(found.rounds["x"]) >= 5)
        assert len(done.rounds["x"]) == 5
        done = measure([contender], rounds=2, seconds=0, enough=lambda _: False, most_rounds=3)
        assert len(done.rounds["x"]) == 3
