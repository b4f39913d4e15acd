"""PyTorch's own values in the midst of a model, under the names that the graph has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from compiler.contracts import Arrays, Inside
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.ir.evaluate import Evaluator


class Gate(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = torch.nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.both(x).chunk(2, -1)
        return value * gate.sigmoid()


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = torch.nn.ModuleList([Gate(), Gate()])
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> dict[str, torch.Tensor]:
        self.calls += 1
        for gate in self.gates:
            x = x + gate(x)
        return {"last": x * scale + x.size(0), "largest": x.amax(-1)}


INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


def prepared(module: torch.nn.Module, specs: Sequence[str]) -> tuple[Evaluator, Inside]:
    program = open_program(Request(module))
    trace(program, specs, None, seed=0, effort="quick")
    model = program.capture(24)
    model.graph.outputs[:] = [value for node in model.graph for value in node.outputs]
    inside = program.inside()
    assert inside is not None
    return Evaluator(model, precise=False), inside


@pytest.fixture(scope="module")
def net() -> tuple[Evaluator, Inside]:
    torch.manual_seed(0)
    return prepared(Net(), ["x:float32[n=1..8,4]", "scale=2.0"])


def test_every_place_that_both_have_is_the_same(net: tuple[Evaluator, Inside]) -> None:
    graph, inside = net
    have, want = graph(INPUTS), inside.values(INPUTS, precise=False)
    both = have.keys() & want.keys()
    assert {"linear", "linear_1", "sigmoid", "getitem_3", "sym_size_int_1", "last", "largest"} <= both
    for name in both:
        np.testing.assert_allclose(have[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_precise_values_are_float64(net: tuple[Evaluator, Inside]) -> None:
    plain, precise = (net[1].values(INPUTS, precise=flag) for flag in (False, True))
    assert plain.keys() == precise.keys()
    assert precise["last"].dtype == np.float64
    assert 0 < np.abs(precise["last"] - plain["last"]).max() < 1e-5


def test_nothing_is_kept_between_runs(net: tuple[Evaluator, Inside]) -> None:
    first, again = (net[1].values(INPUTS, precise=False) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_modules_are_told_in_the_order_in_which_they_run(net: tuple[Evaluator, Inside]) -> None:
    inside = net[1]
    eager: Arrays = inside.modules(INPUTS, precise=False)
    assert list(eager)[:4] == [
        "the input of 'gates.0'",
        "the input of 'gates.0.both'",
        "the result of 'gates.0.both'",
        "the result of 'gates.0'",
    ]
    exported = inside.exported_modules(INPUTS)
    assert eager.keys() <= exported.keys()
    for name, array in eager.items():
        np.testing.assert_array_equal(exported[name], array, err_msg=name)
    assert inside.line("the result of 'gates.0.both'") == "test_inside.py:24"
    assert inside.line("the result of 'nobody'") == ""


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_script_tells_nothing() -> None:
    class Steps(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(x.size(0)):
                x = x * 0.5 + 1
            return x

    program = open_program(Request(torch.jit.script(Steps())))
    trace(program, ["x:float32[n=1..4,3]"], None, seed=0, effort="quick")
    program.capture(24)
    assert program.inside() is None
