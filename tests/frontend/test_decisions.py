"""What is decided within rounding of another choice is found, followed in float64, and can be had the other way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from compiler.cases import Case
from compiler.contracts import Arrays
from compiler.frontend.decisions import KEPT, decides
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import branch, compute

Body = Callable[[torch.Tensor], torch.Tensor]
SCALE = 1 / 3  # in float32 another number than in float64


class Of(nn.Module):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x * SCALE)


def program_of(body: Body, *shape: int) -> Program:
    program = open_program(Request(Of(body)))
    trace(program, (f"x:float32[{','.join(map(str, shape))}]",), None, seed=0, effort="quick")
    return program


def case_of(program: Program, x: object) -> Case:
    inputs: Arrays = {"x": np.asarray(x, np.float32)}
    found = program.answers(inputs)
    return Case("", {}, inputs, found.outputs, found.oracle, close=found.close, unlisted=found.unlisted)


def output(arrays: Arrays) -> list[float]:
    (array,) = arrays.values()
    result: list[float] = array.astype(np.float64).reshape(-1).tolist()
    return result


# A body; what it is given, times three: the first element lies at a boundary; and the two values that it may take.
BOUNDARIES: dict[str, tuple[Body, list[float], tuple[float, float]]] = {
    "round": (torch.round, [2.5000001, 0.7], (2, 3)),
    "round below zero": (torch.round, [-2.5000001, 0.7], (-2, -3)),
    "floor": (torch.floor, [3.0000001, 0.7], (2, 3)),
    "ceil": (torch.ceil, [3.0000001, 0.7], (3, 4)),
    "trunc": (torch.trunc, [3.0000001, 0.7], (2, 3)),
    "trunc below zero": (torch.trunc, [-3.0000001, 0.7], (-2, -3)),
    "a cast": (lambda x: x.to(torch.int64), [3.0000001, 0.7], (2, 3)),
    "greater": (lambda x: torch.where(x > 0.3, 1.0, 0.0), [0.3, 0.7], (0, 1)),
    "at most": (lambda x: (x <= 0.3).float(), [0.3, 0.7], (0, 1)),
    "floor_divide": (lambda x: torch.floor_divide(x, 0.1), [0.7, 0.35], (6, 7)),
    "div": (lambda x: torch.div(x, 0.1, rounding_mode="trunc"), [0.7, 0.35], (6, 7)),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_the_other_side_of_a_boundary_can_be_had(name: str) -> None:
    body, x, values = BOUNDARIES[name]
    program = program_of(body, 2)
    case = case_of(program, [value / SCALE for value in x])
    (decision,) = case.close
    other = branch(program, case, (decision,))
    assert {output(case.outputs)[0], output(other.outputs)[0]} == set(map(float, values))
    assert output(case.oracle) == output(case.outputs)
    assert output(other.oracle) == output(other.outputs)
    assert output(other.outputs)[1] == output(case.outputs)[1]


# A body that tells which candidates were chosen; the other choice.
CHOICES: dict[str, tuple[Body, list[float], list[float]]] = {
    "argmax": (lambda x: x.argmax(-1), [1], [2]),
    "argmax of all": (lambda x: x.argmax(), [1], [2]),
    "argmin": (lambda x: (-x).argmin(-1), [1], [2]),
    "max": (lambda x: x.max(-1).indices, [1], [2]),
    "min": (lambda x: (-x).min(-1, keepdim=True).indices, [1], [2]),
    "topk, the last": (lambda x: x[:, 1:].topk(1).indices + 1, [1], [2]),
    "topk, their order": (lambda x: x.topk(3).indices, [1, 2, 0], [2, 1, 0]),
    "sort": (lambda x: x.sort(descending=True).indices, [1, 2, 0, 3], [2, 1, 0, 3]),
    "argsort": (lambda x: (-x).argsort(), [1, 2, 0, 3], [2, 1, 0, 3]),
    "along another axis": (lambda x: x.t().topk(2, dim=0).indices, [1, 2], [2, 1]),
    "kthvalue": (lambda x: x.kthvalue(4).indices, [1], [2]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_runner_up_can_be_had(name: str) -> None:
    body, have, other = CHOICES[name]
    program = program_of(body, 1, 4)
    case = case_of(program, [[0.5, 3.0000002, 3.0, -1.0]])
    assert output(case.outputs) == output(case.oracle) == have
    (decision,) = case.close
    found = branch(program, case, (decision,))
    assert output(found.outputs) == output(found.oracle) == other


def test_values_follow_the_indices_that_were_chosen() -> None:
    program = program_of(lambda x: x.topk(1).values, 1, 4)
    case = case_of(program, [[0.5, 3.0000002, 3.0, -1.0]])
    (decision,) = case.close
    other = branch(program, case, (decision,))
    assert output(case.outputs) == [float(np.float32(3.0000002) * np.float32(SCALE))]
    assert output(other.oracle) == [3.0 * SCALE]


def test_the_oracle_decides_as_pytorch_does_where_rounding_may_explain_it() -> None:
    """1/3 is larger in float32 than it is, so that float64 alone would decide otherwise."""
    x = np.arange(1, 4000, dtype=np.float32)
    wide = np.floor(x.astype(np.float64) * SCALE * 3)
    narrow = np.floor(x * np.float32(SCALE) * np.float32(3))
    assert (wide != narrow).any()
    program = program_of(lambda x: torch.floor(x * 3), len(x))
    case = case_of(program, x)
    np.testing.assert_array_equal(output(case.outputs), narrow)
    np.testing.assert_array_equal(output(case.oracle), narrow)


def test_what_is_far_from_a_boundary_is_left_alone() -> None:
    program = program_of(torch.round, 4)
    case = case_of(program, [3.0, 0.3, 6.1, -2.8])
    assert not case.close and not case.unlisted


def test_exact_numbers_decide_exactly() -> None:
    """What a rounding of a half gives is laid down."""

    class Exact(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x > 0, torch.round(x), torch.floor(x))

    program = open_program(Request(Exact()))
    trace(program, ("x:float32[4]",), None, seed=0, effort="quick")
    assert not case_of(program, [0.5, 1.5, 0.0, -2.0]).close


def test_masked_candidates_are_no_ties() -> None:
    program = program_of(lambda x: x.masked_fill(x < 0, -torch.inf).argmax(-1), 1, 4)
    assert not case_of(program, [[1.0, -1.0, -2.0, -3.0]]).close


def test_the_nearest_are_kept_and_the_rest_is_counted() -> None:
    program = program_of(torch.round, 100)
    x = (np.arange(100) + 0.5) / SCALE * (1 + 1e-7)
    case = case_of(program, x)
    assert len(case.close) == KEPT
    assert case.unlisted > 0
    assert [one.share for one in case.close if one.share] == sorted(one.share for one in case.close if one.share)


def test_a_decision_names_its_line() -> None:
    program = program_of(torch.round, 2)
    (decision,) = case_of(program, [2.5000001 / SCALE, 1.0]).close
    assert str(decision).startswith("round at test_decisions.py:")


DECIDING: dict[str, Body] = {name: body for name, (body, *_) in {**BOUNDARIES, **CHOICES}.items()}
NOTHING: dict[str, Body] = {
    "relu": torch.relu,
    "a cast of floats": lambda x: x.to(torch.float64),
    "the larger of two": lambda x: torch.max(x, -x),
    "whole numbers": lambda x: (torch.arange(x.shape[-1]) > 1) * x,
    "softmax": lambda x: x.softmax(-1),
}


@pytest.mark.parametrize("name", [*DECIDING, *NOTHING])
def test_a_program_that_decides_nothing_is_not_looked_at(name: str) -> None:
    module = Of({**DECIDING, **NOTHING}[name])
    assert decides(torch.export.export(module, (torch.ones(2, 4),))) == (name in DECIDING)


def test_looking_changes_no_answer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(8, 8, batch_first=True)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(self.cell(x)[0])
            return torch.cond(y.sum() > 0, lambda y: torch.round(y * 3), lambda y: y, (y,))

    program = open_program(Request(Net().eval()))
    plan = trace(program, ("x:float32[2,5,8]",), None, seed=0, effort="quick")
    for case in compute(program, plan, "PyTorch").cases:
        assert program.decides()
        np.testing.assert_array_equal(output(case.outputs), output(program.run(case.inputs, precise=False)))
