"""Which candidate is chosen, from figures that are given."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.bench.rows import Error, Row
from compiler.errors import CompileError, UsageError
from compiler.measure.latency import Latency
from compiler.measure.paired import Ratio
from compiler.search.choose import choose
from compiler.search.objective import Objective, goal
from compiler.search.variants import variants


def row(name: str, milliseconds: float, **facts: Any) -> Row:
    """Timed in turns with something that takes 10 ms."""
    seconds = milliseconds / 1000
    latency = Latency(100, seconds, seconds, seconds, seconds, None, seconds, seconds, seconds)
    part = milliseconds / 10
    ratio = Ratio(part, 0.99 * part, 1.01 * part)
    return Row(name, f"the runtime of {name}", Error("passed", 0.2), latency=latency, ratio=ratio, **facts)


EAGER = Row("eager", "PyTorch, eager", Error("passed", 0.1), latency=row("", 10).latency)
FAST = row("fast", 2, disk=90 * 2**20, peak=300, rates={1: 500.0, 2: 600.0})
SMALL = row("small", 4, disk=10 * 2**20, peak=100, rates={1: 250.0, 2: 900.0})


@pytest.mark.parametrize(
    ("objective", "chosen"),
    [
        (Objective(), "fast"),
        (Objective("throughput"), "small"),
        (Objective("size"), "small"),
        (Objective("memory"), "small"),
        (Objective(max_size=50 * 2**20), "small"),
        (Objective("size", max_latency=0.003), "fast"),
    ],
)
def test_the_goal_and_its_limits(objective: Objective, chosen: str) -> None:
    found = choose([EAGER, FAST, SMALL], {"fast": {}, "small": {}}, objective)
    assert found.row.name == chosen
    assert not found.warnings
    assert set(found.refused) <= {"fast", "small"} - {chosen}


def test_options_that_gain_nothing_are_left_alone() -> None:
    rows = [EAGER, row("plain", 2.02), row("set", 2.0)]
    assert choose(rows, {"plain": {}, "set": {"threads": 1}}, Objective()).row.name == "plain"
    rows[1] = row("plain", 2.2)
    assert choose(rows, {"plain": {}, "set": {"threads": 1}}, Objective()).row.name == "set"


def test_what_is_slower_than_before_is_said() -> None:
    found = choose([EAGER, row("slow", 25)], {"slow": {}}, Objective())
    assert found.row.name == "slow"
    assert found.warnings == ["SLOWER THAN PyTorch, eager: a call takes 2.50 times as long"]


def test_nothing_is_left() -> None:
    dead = Row("dead", "", Error("passed"), failure="it crashed")
    with pytest.raises(CompileError) as caught:
        choose([EAGER, FAST, dead], {"fast": {}, "dead": {}}, Objective(max_latency=0.001))
    assert caught.value.code == "no-candidate"
    assert "fast: a call takes 2 ms, and may take 1; dead: it crashed" in str(caught.value.why)


def test_a_goal_that_is_mistyped() -> None:
    assert goal("memory") == "memory"
    with pytest.raises(UsageError) as caught:
        goal("latancy")
    assert caught.value.hint == "did you mean 'latency'?"


def test_the_first_variant_is_the_runtime_as_it_was_verified() -> None:
    assert next(iter(variants("onnxruntime", "latency").values())) == {}
    assert variants("a target of somebody else's", "latency") == {"": {}}
