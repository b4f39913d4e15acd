"""Models that decide on their way, held against artifacts that decide otherwise within rounding, and against faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compiler.cases import Branch, Case, Decision, Edge, Reference
from compiler.contracts import Array, Arrays
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import branch, compute
from compiler.validate import stored
from compiler.validate.judge import judge_again, judge_either_way
from compiler.verdicts import Terms, Verdict


class Experts(nn.Module):
    """Two experts of four for each token; the router's scores for two of them are equal up to rounding."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.experts = nn.Parameter(torch.randn(4, 16, 16, generator=rng) / 4)
        router = torch.randn(4, 16, generator=rng)
        router[1] = router[0] * (1 + 2.0**-23)
        self.router = nn.Parameter(router)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores, chosen = (x @ self.router.t()).topk(2, -1)
        each = (self.experts[chosen] @ x[:, None, :, None]).squeeze(-1)
        return (each * scores.softmax(-1)[..., None]).sum(1)


class Rounding(nn.Module):
    """Weights of 1/3: a sum of three halves lies at a half, up to rounding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.round(x.sign() * 7.5 * (1 / 3) + x * 1e-7)
        return torch.sin(steps + x.mean(-1, keepdim=True))


class Best(nn.Module):
    """The row with the largest sum; every row is there twice, in another order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([x, x.flip(-1)])
        return torch.tanh(rows[(rows * 0.1).cumsum(-1)[:, -1].argmax()]) * 2


class Net:
    """A model with its reference."""

    def __init__(self, model: nn.Module, spec: str) -> None:
        self.program: Program = open_program(Request(model))
        plan = trace(self.program, (spec,), None, seed=0, effort="quick")
        self.reference = replace(compute(self.program, plan, "PyTorch"), edges=())
        self.otherwise: Callable[[Case, tuple[Decision, ...]], Branch | None] = partial(branch, self.program)

    def judged(self, answers: list[dict[str, Array]]) -> tuple[Reference, Verdict]:
        waiting = iter(answers)
        return judge_either_way(self.reference, lambda _: next(waiting), Terms(), self.otherwise)

    def answers(self, fault: Callable[[Array], Array] = lambda y: y) -> list[dict[str, Array]]:
        """Of an honest artifact that takes a decision that matters the other way wherever it can, and of a fault."""
        return [
            {name: fault(array) for name, array in _other(self.otherwise, case).items()}
            for case in self.reference.cases
        ]


def _other(otherwise: Callable[[Case, tuple[Decision, ...]], Branch | None], case: Case) -> Arrays:
    for decision in case.close:
        found = otherwise(case, (decision,))
        assert found is not None
        if any(_far(found.outputs[name], case.outputs[name]) for name in case.outputs):
            return found.outputs
    return case.outputs


def _far(one: Array, other: Array) -> bool:
    return bool(np.abs(one - other).max() > 0.01)


NETS = {
    "experts": (Experts, "x:float32[n=3..5,16]"),
    "rounding": (Rounding, "x:float32[n=2..4,8]"),
    "best": (Best, "x:float32[n=2..4,8]"),
}


@pytest.fixture(params=NETS, scope="module")
def net(request: pytest.FixtureRequest) -> Iterator[Net]:
    model, spec = NETS[request.param]
    yield Net(model(), spec)


def test_the_other_choice_is_accepted_and_told(net: Net) -> None:
    _, verdict = net.judged(net.answers())
    assert verdict.passed
    assert verdict.outputs[0].flips > 0
    assert any("which the artifact takes" in note for note in verdict.notes)


# What an honest runtime does not do. The smallest is off by some hundred times the model's own rounding.
FAULTS: dict[str, Callable[[Array], Array]] = {
    "scaled": lambda y: y * np.float32(1.0001),
    "one element": lambda y: y + np.float32(1e-3) * (np.arange(y.size).reshape(y.shape) == 0),
    "in float16": lambda y: y.astype(np.float16).astype(np.float32),
    "NaN": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 0, np.float32(np.nan), y),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_beside_it_is_refused(net: Net, fault: str) -> None:
    assert not net.judged(net.answers(FAULTS[fault]))[1].passed


def test_verify_says_the_same(net: Net, tmp_path: Path) -> None:
    settled, verdict = net.judged(net.answers())
    stored.write(settled.cases, tmp_path)
    read = stored.read_reference(tmp_path, lambda *_: {})
    for answers in (net.answers(), net.answers(FAULTS["scaled"])):
        waiting = iter(answers)
        again = judge_again(read, lambda _, waiting=waiting: next(waiting), Terms())  # type: ignore[misc]
        assert again.passed == net.judged(answers)[1].passed
    assert verdict.passed


def test_a_choice_that_is_no_near_one_is_refused() -> None:
    """The third expert for the second, whose score is another one."""
    net = Net(Experts(), NETS["experts"][1])
    case = net.reference.cases[0]
    decision = case.close[0]
    far = next(expert for expert in range(4) if expert not in (*decision.have, *decision.other))
    wrong = replace(decision, other=(*decision.have[:-1], float(far)))
    found = net.otherwise(case, (wrong,))
    assert found is not None
    answers = [found.outputs, *(case.outputs for case in net.reference.cases[1:])]
    assert not net.judged([dict(one) for one in answers])[1].passed


@pytest.mark.parametrize(("fault", "same"), [(0.0, True), (0.5, False)])
def test_under_a_probe_the_other_choice_is_as_pytorch(net: Net, fault: float, same: bool) -> None:
    case = net.reference.cases[0]
    reference = replace(net.reference, edges=(Edge("a probe", case.inputs, case.outputs),))
    probed = {name: array + np.float32(fault) for name, array in _other(net.otherwise, case).items()}
    waiting = iter([*(dict(case.outputs) for case in reference.cases), probed])
    found, verdict = judge_either_way(reference, lambda _: next(waiting), Terms(), net.otherwise)
    assert [edge.same for edge in verdict.edges] == [same]
    assert any("a probe: 1 decision" in note for note in verdict.notes) == same
    # What a bundle keeps is what the verdict rests on.
    assert np.array_equal(found.edges[0].outputs["output"], probed["output"]) == same


def test_a_probe_with_nan_has_decisions_too(net: Net) -> None:
    case = net.reference.cases[0]
    inputs = {name: np.where(np.arange(array.size).reshape(array.shape) == 0, np.float32(np.nan), array)
              for name, array in case.inputs.items()}  # fmt: skip
    outputs = net.program.run(inputs, precise=False)
    reference = replace(net.reference, edges=(Edge("NaN", inputs, outputs),))
    wrong = {name: array + np.float32(0.5) for name, array in outputs.items()}
    waiting = iter([*(dict(case.outputs) for case in reference.cases), wrong])
    _, verdict = judge_either_way(reference, lambda _: next(waiting), Terms(), net.otherwise)
    assert verdict.passed
    if np.isfinite(outputs["output"]).any():
        assert not verdict.edges[0].same
