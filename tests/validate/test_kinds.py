"""Data of several kinds in one verdict: each in its own unit, and only where PyTorch keeps its precision."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.cases import ORDINARY, Case
from compiler.contracts import Array
from compiler.validate.compare import compare

ELEMENTS = 256


def case(kind: str, scale: float, rounding: float, seed: int, shaken: float = 0.0) -> Case:
    """An output of this size, of which PyTorch is off by so much of it."""
    rng = np.random.default_rng(seed)
    oracle = scale * rng.standard_normal(ELEMENTS)

    def off(share: float) -> Array:
        return oracle + share * scale * rng.standard_normal(ELEMENTS)

    moved = {"y": off(shaken)} if shaken else None
    outputs = {"y": off(rounding).astype(np.float32)}
    return Case(f"n=1, {kind}", {}, {}, outputs, {"y": oracle}, seed, kind, moved)


USUAL = [case(ORDINARY, 1.0, 1e-7, 0), case(ORDINARY, 1.0, 1e-7, 1)]


def answers(cases: list[Case], share: float) -> list[dict[str, Array]]:
    """Everything right, but for the last case, which is off by this share of its size."""
    good = [dict(one.outputs) for one in cases]
    oracle = cases[-1].oracle["y"]
    noise = np.random.default_rng(9).standard_normal(ELEMENTS) * np.sqrt(np.mean(oracle**2))
    return [*good[:-1], {"y": (oracle + share * noise).astype(np.float32)}]


@pytest.mark.parametrize(("kind", "scale"), [("tiny", 1e-4), ("large", 1e3)])
def test_each_kind_is_judged_in_its_own_unit(kind: str, scale: float) -> None:
    cases = [*USUAL, case(kind, scale, 1e-7, 2)]
    assert compare(cases, answers(cases, 3e-7)).passed
    verdict = compare(cases, answers(cases, 1e-5))
    assert verdict.status == "failed"
    assert verdict.outputs[0].case == f"n=1, {kind}"


def test_what_a_rounding_of_the_inputs_does_is_no_fault() -> None:
    steady = [*USUAL, case("constant", 1.0, 1e-9, 2)]
    moved = [*USUAL, case("constant", 1.0, 1e-9, 2, shaken=1e-6)]
    assert not compare(steady, answers(steady, 2e-6)).passed
    assert compare(moved, answers(moved, 2e-6)).passed


def test_data_on_which_pytorch_loses_its_precision_proves_nothing_and_it_is_said() -> None:
    cases = [*USUAL, case("constant", 1.0, 1e-5, 2)]
    verdict = compare(cases, answers(cases, 1e-2))
    assert verdict.passed
    assert verdict.notes == (
        "'y': on constant data the model's own rounding is 1e-05 of the output; it is not judged there",
    )
    ordinary = [case(ORDINARY, 1.0, 1e-5, 0), case(ORDINARY, 1.0, 1e-5, 1)]
    assert not compare(ordinary, answers(ordinary, 1e-2)).passed
