"""A share of the planted faults; `make mutation` plants many more."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from mutation import FAULTS, MUST_BE_CAUGHT, Planted, curve, effect, missed, plant_all, table
from zoo_graphs import Kept, kept

from compiler.cases import Reference
from compiler.ir.evaluate import Evaluator
from compiler.validate.judge import judge
from compiler.verdicts import Terms

SECONDS = 10.0  # of computing
MODELS = ("vit", "gru")  # small, and between them with nearly every kind of place


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    home = tmp_path_factory.mktemp("zoo")
    return [kept(name, home) for name in MODELS]


def test_there_are_many_kinds_of_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25


def test_what_is_planted_is_caught(zoo: list[Kept]) -> None:
    found: list[Planted] = []
    started = time.process_time()
    for each in plant_all(1, zoo, {}):
        found.append(each)
        if time.process_time() - started > SECONDS:
            break
    assert len([each for each in found if each.effect > MUST_BE_CAUGHT]) >= 10
    assert not missed(found), "\n".join([*table(found), *curve(found)])


def test_graphs_that_nothing_was_planted_in_pass(zoo: list[Kept]) -> None:
    """Or all would be caught."""
    for model in zoo:
        verdict = judge(Reference(model.cases, "PyTorch, eager", 0), Evaluator(model.graph(), precise=False), Terms())
        assert verdict.passed, model.name


def test_the_effect_of_a_fault_is_counted_in_units(zoo: list[Kept]) -> None:
    """PyTorch's own answer is one unit off as a whole, by definition; nothing at all is off by nothing."""
    cases = zoo[0].cases
    own = effect(cases, [dict(case.outputs) for case in cases])
    assert 0.2 < own["whole"] <= 1.01
    assert own["element"] == pytest.approx(own["peak"])
    assert effect(cases, [dict(case.oracle) for case in cases])["whole"] == np.inf  # another type


def test_a_run_goes_on_where_it_was(zoo: list[Kept], tmp_path: Path) -> None:
    first = next(plant_all(1, zoo, {}))
    assert next(plant_all(1, zoo, {(first.fault, first.number): first})).fault != first.fault
