"""What a program draws at random becomes inputs: the same program otherwise, with one right answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import compiler
from compiler.contracts import Source
from compiler.errors import CompileError
from compiler.frontend.prepare import trace
from compiler.frontend.reference import ReferencePlan
from compiler.frontend.torch_program import TorchProgram


class Random(nn.Module):
    """A forward made from a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self._function(x)


def lifted(
    function: Callable[[torch.Tensor], Any], *texts: str, data: Any = None, **known: Any
) -> tuple[TorchProgram, ReferencePlan]:
    program = TorchProgram(Source("", "test", ""), Random(function), **known)
    texts = texts or ("x:float32[n=2..9,6]",)
    return program, trace(program, texts, data, seed=0, effort="quick", lift_random=True)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rand": lambda x: x + torch.rand(x.shape[0], 6),
    "rand_like": lambda x: x + torch.rand_like(x),
    "randn": lambda x: x + torch.randn((x.shape[0], 6)),
    "randn_like": lambda x: x + torch.randn_like(x),
    "normal": lambda x: torch.normal(x, 2 * torch.ones_like(x)),
    "normal_": lambda x: x + torch.empty_like(x).normal_(1.0, 3.0),
    "uniform_": lambda x: x + torch.empty_like(x).uniform_(-1, 5),
    "exponential_": lambda x: x + torch.empty_like(x).exponential_(2.0),
    "bernoulli": lambda x: torch.bernoulli(torch.sigmoid(x)),
    "bernoulli_": lambda x: x + torch.empty_like(x).bernoulli_(0.25),
    "dropout": lambda x: nn.functional.dropout(x, 0.3),
    "a distribution": lambda x: torch.distributions.Normal(x, 2.0, validate_args=False).sample(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_draw_is_an_input_and_is_distributed_as_before(name: str) -> None:
    function = FUNCTIONS[name]
    program, plan = lifted(function)
    assert [str(spec) for spec in plan.specs] == ["x:float32[n=2..9,6]", "noise_0:float32[n=2..9,6]"]
    assert plan.ranges["noise_0"].noise
    x = np.full((20_000, 6), 0.5, np.float32)
    noise = plan.inputs({"n": 20_000}, 0)["noise_0"]
    found = program.run({"x": x, "noise_0": noise}, precise=False)["output"]
    torch.manual_seed(0)
    usual = function(torch.from_numpy(x)).numpy()
    assert found.dtype == usual.dtype
    np.testing.assert_allclose([found.mean(), found.std()], [usual.mean(), usual.std()], rtol=0.02, atol=0.01)
    precise = program.run({"x": x, "noise_0": noise}, precise=True)["output"]
    np.testing.assert_allclose(precise, found, rtol=1e-5, atol=1e-5)


def test_each_call_has_an_input_of_its_own() -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5) + torch.randn(3, 1) + torch.rand(())

    program, plan = lifted(twice, "x:float32[3,4]")
    assert [str(spec) for spec in plan.specs[1:]] == [
        "noise_0:float32[3,4]",
        "noise_1:float32[3,1]",
        "noise_2:float32[]",
    ]
    assert [value.name for value in program.capture(24).graph.inputs] == ["x", "noise_0", "noise_1", "noise_2"]
    assert "draws at" in plan.ranges["noise_0"].why


def test_a_dropout_that_does_not_drop_is_no_draw() -> None:
    _, plan = lifted(lambda x: nn.functional.dropout(x, 0.5, training=False))
    assert [spec.name for spec in plan.specs] == ["x"]


def test_given_data_is_completed_with_noise() -> None:
    data = {"x": np.ones((3, 6), np.float32)}
    _, plan = lifted(FUNCTIONS["rand_like"], data=data)
    assert plan.given["given inputs"]["noise_0"].shape == (3, 6)


def test_a_number_of_draws_that_no_dim_says_is_refused() -> None:
    with pytest.raises(CompileError) as caught:
        lifted(lambda x: torch.cat([x, x]) + torch.rand(2 * x.shape[0], 1))
    assert caught.value.code == "random-model"
    assert "test_lifted_noise.py" in str(caught.value.where)


def test_an_exported_program_has_its_draws_fixed() -> None:
    exported = torch.export.export(Random(FUNCTIONS["rand_like"]), (torch.ones(3, 6),))
    program = TorchProgram(Source("", "test", ""), exported=exported)
    with pytest.raises(CompileError, match="an exported program draws"):
        trace(program, [], None, seed=0, effort="quick", lift_random=True)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_it_is_compiled_and_judged(tmp_path: Path, target: str) -> None:
    module, settings = Random(FUNCTIONS["dropout"]), {"target": target, "output": tmp_path}
    with pytest.raises(CompileError) as caught:
        compiler.compile(module, ["x:float32[n=2..9,6]"], **settings)
    assert "--lift-random" in str(caught.value.hint)
    result = compiler.compile(module, ["x:float32[n=2..9,6]"], **settings, lift_random=True, effort="normal")
    assert result.passed
    assert not any("noise" in edge.probe for edge in result.verdict.edges)


def test_what_is_not_lifted_is_refused_with_its_line(tmp_path: Path) -> None:
    module = Random(lambda x: torch.rand_like(x) + x)
    with pytest.raises(CompileError) as caught:
        compiler.compile(module, ["x:float32[n=2..9,6]"], target="onnxruntime", output=tmp_path)
    assert caught.value.code == "random-model"
    assert "test_lifted_noise.py" in str(caught.value.where)
    assert "--lift-random" in str(caught.value.hint)
