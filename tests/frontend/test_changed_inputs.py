"""Inputs that forward writes to: the compiled model returns what is in them afterwards, and it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import compiler
from compiler.contracts import Source
from compiler.frontend.examples import example_inputs
from compiler.frontend.specs import parse
from compiler.frontend.torch_program import TorchProgram


class Cache(nn.Module):
    """A key/value cache as it is often written."""

    def forward(self, x: torch.Tensor, cache: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        cache[:, 0] = x.sum(1)
        cache.mul_(scale)
        return x + cache.sum()


class Both(nn.Module):
    def forward(self, x: torch.Tensor, states: tuple[torch.Tensor, ...]) -> Any:
        first, second = states
        first.add_(x)
        return {"y": x * 2, "states": (first, second + 1)}


class Copy(nn.Module):
    """What is written to is its own."""

    def forward(self, x: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        cache = cache.clone()
        cache[:, 0] = 0
        return x + cache


SPECS = ["x:float32[n=2..6,4]", "cache:float32[n,4]"]


def traced(module: nn.Module | None, texts: list[str], **known: Any) -> TorchProgram:
    program = TorchProgram(Source("", "test", ""), module, **known)
    specs = parse(texts).tensors
    program.trace(specs, example_inputs(specs), {})
    return program


def test_what_is_in_it_afterwards_is_an_output() -> None:
    program = traced(Cache(), SPECS)
    x, cache = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    for precise in (False, True):
        outputs = program.run({"x": x, "cache": cache}, precise=precise)
        assert list(outputs) == ["output", "cache_after"]
        np.testing.assert_array_equal(outputs["cache_after"][:, 0], 8)
        assert outputs["cache_after"].dtype == (np.float64 if precise else np.float32)
    assert not cache.any()
    assert [value.name for value in program.capture(24).graph.outputs] == ["output", "cache_after"]
    assert "forward changes 'cache' in place" in program.notes()[0]


def test_nested_inputs_and_outputs_keep_their_names() -> None:
    program = traced(Both(), ["x:float32[4]", "states.0:float32[4]", "states.1:float32[4]"])
    names = [value.name for value in program.capture(24).graph.outputs]
    assert names == ["y", "states.0_out", "states.1_out", "states.0_after"]


def test_an_exported_program_is_no_different() -> None:
    exported = torch.export.export(Cache(), (torch.ones(3, 4), torch.zeros(3, 4)))
    program = traced(None, ["x:float32[3,4]", "cache:float32[3,4]"], exported=exported)
    assert [value.name for value in program.capture(24).graph.outputs] == ["output", "cache_after"]


def test_a_copy_may_be_written_to() -> None:
    program = traced(Copy(), SPECS)
    assert [value.name for value in program.capture(24).graph.outputs] == ["output"]
    assert program.notes() == ()


def test_a_mean_with_its_spread_beside_it() -> None:
    """torch's own decomposition of it does not take what the operator takes."""

    class Spread(nn.Module):
        def forward(self, x: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, ...]:
            cache.add_(1)
            return torch.std_mean(x, -1, unbiased=False)

    names = [value.name for value in traced(Spread(), SPECS).capture(24).graph.outputs]
    assert names == ["output_0", "output_1", "cache_after"]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_it_is_judged(tmp_path: Path, target: str) -> None:
    result = compiler.compile(Cache(), SPECS, target=target, output=tmp_path)
    assert [(output.output, output.passed) for output in result.verdict.outputs] == [
        ("output", True),
        ("cache_after", True),
    ]
    assert any("'cache' in place" in note for note in result.verdict.notes)
