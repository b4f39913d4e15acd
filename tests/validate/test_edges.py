"""The second verdict: what counts as another behaviour at the edge, and what it never does to the first one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.cases import Case, Edge, Reference
from compiler.contracts import Array, Arrays
from compiler.errors import CompileError
from compiler.report import words
from compiler.unit import Unit
from compiler.validate.edges import judge_edges
from compiler.validate.judge import judge
from compiler.verdicts import Terms

NAN, INF = np.nan, np.inf
UNIT = Unit(rms=1e-7, worst=3e-7, epsilon=2.0**-23, scale=1.0, unlucky=1.0)


def arrays(*values: float, dtype: Any = np.float32) -> dict[str, Array]:
    return {"y": np.array(values, dtype)}


def judged(want: Arrays, got: Arrays, unit: Unit | None = UNIT) -> tuple[str, int]:
    edge = Edge("a probe", {}, want)
    (verdict,) = judge_edges([edge], lambda inputs: dict(got), {"y": unit} if unit else {})
    assert verdict.same == (verdict.how == "")
    return verdict.how, verdict.count


@pytest.mark.parametrize(
    ("want", "got", "how"),
    [
        ((NAN, 1, 2), (0, 1, 2), "a number for a NaN"),
        ((NAN, 1, 2), (NAN, NAN, 2), "NaN for a number"),
        ((INF, 1, 2), (3e38, 1, 2), "a number for an infinity"),
        ((INF, 1, 2), (INF, INF, 2), "an infinity for a number"),
        ((INF, 1, 2), (NAN, 1, 2), "NaN for an infinity"),
        ((NAN, 1, 2), (-INF, 1, 2), "an infinity for a NaN"),
        ((INF, 1, 2), (-INF, 1, 2), "the other infinity"),
        ((NAN, 1, 2), (NAN, 1.01, 2), "another number"),
    ],
)
def test_what_differs(want: tuple[float, ...], got: tuple[float, ...], how: str) -> None:
    assert judged(arrays(*want), arrays(*got)) == (how, 1)


def test_the_same_special_values_and_rounding_are_the_same() -> None:
    assert judged(arrays(NAN, INF, -INF, 1), arrays(NAN, INF, -INF, 1 + 1e-6)) == ("", 0)


def test_larger_answers_may_be_off_by_more() -> None:
    assert judged(arrays(1e6, 2e6), arrays(1e6 + 1, 2e6)) == ("", 0)
    assert judged(arrays(1e6, 2e6), arrays(1e6 + 1000, 2e6)) == ("another number", 1)


def test_integers_are_exact_and_shapes_and_types_count() -> None:
    assert judged(arrays(1, 2, dtype=np.int64), arrays(1, 3, dtype=np.int64), None) == ("another value", 1)
    assert judged(arrays(1, 2), arrays(1, 2, 3))[0] == "its shape is (3,), not (2,)"
    assert judged(arrays(1, 2), arrays(1, 2, dtype=np.float64))[0] == "its dtype is float64, not float32"
    assert judged(arrays(1, 2), {})[0] == "the output is missing"


def raising(inputs: Arrays) -> dict[str, Array]:
    raise CompileError("runtime-raised", "it failed to run", why="out of range")


@pytest.mark.parametrize(
    ("raised", "answer", "same", "how"),
    [
        ("IndexError", raising, True, ""),
        ("IndexError", lambda inputs: arrays(1), False, "answers all the same"),
        ("", raising, False, "it failed to run"),
    ],
)
def test_where_pytorch_raises_the_artifact_should_too(raised: str, answer: Any, same: bool, how: str) -> None:
    (verdict,) = judge_edges([Edge("a probe", {}, {} if raised else arrays(1), raised)], answer, {"y": UNIT})
    assert (verdict.output, verdict.same, verdict.how) == ("", same, how)


def reference() -> Reference:
    rng = np.random.default_rng(0)
    oracle = rng.standard_normal(64)
    case = Case("n=64", {}, {"x": oracle}, {"y": oracle.astype(np.float32)}, {"y": oracle})
    edges = (Edge("NaN in x", {"x": np.array([NAN])}, arrays(NAN)), Edge("ties", {"x": np.array([1.0])}, arrays(1)))
    return Reference((case,), "PyTorch", 0, edges=edges)


def swallowing(inputs: Arrays) -> dict[str, Array]:
    return {"y": np.nan_to_num(inputs["x"]).astype(np.float32)}


def test_another_edge_behaviour_is_told_and_fails_only_where_that_is_asked_for() -> None:
    verdict = judge(reference(), swallowing, Terms())
    assert verdict.passed
    assert [(edge.probe, edge.same) for edge in verdict.edges] == [("NaN in x", False), ("ties", True)]
    assert all(output.used < 1 for output in verdict.outputs)
    assert judge(reference(), swallowing, Terms(strict_edges=True)).status == "failed"
    assert judge(reference(), lambda inputs: {"y": inputs["x"].astype(np.float32)}, Terms(strict_edges=True)).passed


def test_the_line_says_how_many_and_in_what() -> None:
    def edge(probe: str, how: str = "", output: str = "y", count: int = 0, why: str = "") -> dict[str, Any]:
        return {"probe": probe, "output": output, "same": not how, "how": how, "count": count, "why": why}

    assert words.edge_behaviour({"edges": []}) == ""
    edges = [edge("ties"), edge("NaN in x", "a number for a NaN", count=3), edge("NaN in x", output="z")]
    assert words.edge_behaviour({"edges": edges}) == (
        "edge behaviour: 1 of 2 probes as PyTorch; NaN in x gives in 'y' a number for a NaN at 3 elements"
    )
    crash = edge("+Inf in x", "it crashed", output="", why="SIGSEGV")
    assert words.edge_difference(crash) == "+Inf in x: it crashed (SIGSEGV)"
    assert words.edge_behaviour({"edges": [crash] * 5}).endswith("; and 2 more")
