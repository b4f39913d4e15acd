"""What once passed somewhere for an equal model. Each must be refused.

Others of the kind stand where they belong: OpenVINO's faults with NaN in tests/backends/test_openvino_faults.py, what
is done about masked rows in tests/passes/test_repair_masked_rows.py, branches on sizes in
tests/frontend/test_dynamic_dims.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import openvino
import pytest
import torch
from torch import nn

import compiler
from compiler import driver
from compiler.cases import Case, Reference
from compiler.contracts import Array, Arrays
from compiler.errors import CompileError
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.reference import compute
from compiler.ir.evaluate import Evaluator
from compiler.validate.judge import judge
from compiler.verdicts import Terms, Verdict

Answer = Callable[[Arrays], dict[str, Array]]


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 32)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.up(x))
        return self.down(hidden), hidden.sum(-1)


def reference_and_graph(module: nn.Module, *inputs: str) -> tuple[Reference, ir.Model]:
    program = open_program(Request(module))
    plan = trace(program, inputs or ("x:float32[n=1..16,64]",), None, seed=0, effort="quick")
    reference = compute(program, plan, "PyTorch, eager")
    return reference, driver.capture(program, plan).model


@pytest.fixture(scope="module")
def mlp() -> tuple[Reference, ir.Model]:
    return reference_and_graph(Mlp())


def verdict(reference: Reference, answer: Answer) -> Verdict:
    return judge(reference, answer, Terms())


def answers(graph: ir.Model, change: Callable[[dict[str, Array]], dict[str, Array]]) -> Answer:
    evaluator = Evaluator(graph, precise=False)
    return lambda inputs: change(evaluator(inputs))


def test_the_right_answer_passes(mlp: tuple[Reference, ir.Model]) -> None:
    """Or nothing below would mean anything."""
    reference, graph = mlp
    assert verdict(reference, answers(graph, lambda outputs: outputs)).passed


def test_nothing_but_nan(mlp: tuple[Reference, ir.Model]) -> None:
    reference, graph = mlp
    found = verdict(
        reference, answers(graph, lambda outputs: {name: np.full_like(y, np.nan) for name, y in outputs.items()})
    )
    assert not found.passed
    assert all("NaN where PyTorch has a number" in output.why for output in found.outputs)


def test_an_output_that_vanished(mlp: tuple[Reference, ir.Model]) -> None:
    reference, graph = mlp
    name = next(iter(reference.cases[0].outputs))
    found = verdict(reference, answers(graph, lambda outputs: {k: v for k, v in outputs.items() if k != name}))
    assert not found.passed
    assert any(output.why == "the output is missing" for output in found.outputs)


def test_a_branch_baked_on_a_dim_that_is_dynamic() -> None:
    """Traced at one size, with the branch of that size in the graph; at the other end of the range it is another."""

    def branches(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] > 4 else x + 1

    reference, _ = reference_and_graph(Function(lambda x: torch.cond(x.shape[0] > 4, double, add_one, (x,))))
    found = verdict(reference, lambda inputs: {"output": inputs["x"] * 2})
    assert not found.passed
    with pytest.raises(CompileError) as caught:
        reference_and_graph(Function(branches))
    assert caught.value.code == "dim-specialized"


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def add_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def test_a_row_that_is_masked_wholly() -> None:
    """The mean of the values where PyTorch has zeros: what a softmax over nothing but the lowest number gives."""

    def attend(x: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(x.shape[0])[:, None] > torch.arange(x.shape[0])[None, :]  # the first row sees nobody
        return nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], attn_mask=mask)

    reference, graph = reference_and_graph(Function(attend), "x:float32[n=2..16,64]")
    assert (reference.cases[0].outputs["output"][0, 0] == 0).all()

    def mean_of_the_masked(inputs: Arrays) -> dict[str, Array]:
        right = Evaluator(graph, precise=False)(inputs)["output"].copy()
        right[0, 0] = inputs["x"].mean(0)
        return {"output": right}

    assert not verdict(reference, mean_of_the_masked).passed


def test_dropout_that_is_live(mlp: tuple[Reference, ir.Model]) -> None:
    """A runtime that drops what PyTorch keeps; a module that cannot be put out of training is refused before."""
    reference, graph = mlp
    rng = np.random.default_rng(0)

    def dropped(outputs: dict[str, Array]) -> dict[str, Array]:
        return {name: np.where(rng.random(y.shape) < 0.1, 0, y / np.float32(0.9)) for name, y in outputs.items()}

    assert not verdict(reference, answers(graph, dropped)).passed
    with pytest.raises(CompileError) as caught:
        reference_and_graph(Function(lambda x: nn.functional.dropout(x, 0.1, training=True)))
    assert caught.value.code == "training-mode"


# -- OpenVINO, as it is without plumbline ---------------------------------------------------------------------------


def through_openvino(graph: ir.Model, folder: Path, properties: dict[str, Any], *, compress: bool = False) -> Answer:
    ir.save(graph, folder / "model.onnx")
    model = openvino.convert_model(folder / "model.onnx")
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=compress)
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", properties)

    def answer(inputs: Arrays) -> dict[str, Array]:
        results = compiled(dict(inputs))
        return {port.get_any_name(): results[port].copy() for port in compiled.outputs}

    return answer


F32 = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def test_openvino_in_float32_passes(mlp: tuple[Reference, ir.Model], tmp_path: Path) -> None:
    reference, graph = mlp
    assert verdict(reference, through_openvino(graph.clone(), tmp_path, F32)).passed


def test_openvinos_default_of_bfloat16(mlp: tuple[Reference, ir.Model], tmp_path: Path) -> None:
    reference, graph = mlp
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes no bfloat16")
    assert not verdict(reference, through_openvino(graph.clone(), tmp_path, {})).passed


def test_the_float16_weights_of_save_model(mlp: tuple[Reference, ir.Model], tmp_path: Path) -> None:
    reference, graph = mlp
    assert not verdict(reference, through_openvino(graph.clone(), tmp_path, F32, compress=True)).passed


# -- what is no rounding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [torch.relu, lambda x: torch.clamp(x, 0, 6), lambda x: torch.maximum(x, x * 0)])
def test_a_nan_that_a_runtime_swallows(function: Callable[..., Any]) -> None:
    """On data that holds one, PyTorch's answer holds one, too."""
    module = Function(function)
    x = np.array([[np.nan, -1.0, 2.0]], np.float32)
    want = module(torch.from_numpy(x)).numpy()
    assert np.isnan(want[0, 0])
    case = Case("a NaN", {}, {"x": x}, {"y": want}, {"y": want.astype(np.float64)})
    reference = Reference((case,), "PyTorch, eager", 0)
    found = verdict(reference, lambda inputs: {"y": np.nan_to_num(want, nan=0.0)})
    assert not found.passed
    assert "a number where PyTorch has NaN" in found.outputs[0].why


def test_a_product_of_integers_that_overflows() -> None:
    """PyTorch counts in int64; a runtime that counts in int32 gives another number, and not the nearest one."""
    x = np.array([[46341, 65536, 3]], np.int64)
    want = x * x
    case = Case("large", {}, {"x": x}, {"y": want}, {"y": want})
    reference = Reference((case,), "PyTorch, eager", 0)
    assert verdict(reference, lambda inputs: {"y": inputs["x"] * inputs["x"]}).passed
    wrapped = (x.astype(np.int32) * x.astype(np.int32)).astype(np.int64)
    found = verdict(reference, lambda inputs: {"y": wrapped})
    assert "2 of 3 elements differ" in found.outputs[0].why


def test_openvino_is_refused_where_a_product_may_overflow(tmp_path: Path) -> None:
    def squared(x: torch.Tensor) -> torch.Tensor:
        large = torch.arange(x.shape[0]) * 1_000_000
        return large * large

    with pytest.raises(CompileError) as caught:
        compiler.compile(Function(squared), ["x:float32[n=1..4,8]"], target="openvino", output=tmp_path)
    assert caught.value.code == "unsupported-op"


def test_an_argmax_that_takes_the_last_of_equals() -> None:
    """Which of several equal numbers is taken decides what follows: where nobody knows the numbers, it is a fault."""
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]], np.float32)
    first = torch.from_numpy(x).argmax(-1).numpy()
    last = x.shape[1] - 1 - np.flip(x, -1).argmax(-1)
    case = Case("ties", {}, {"x": x}, {"y": first}, {"y": first})
    found = verdict(Reference((case,), "PyTorch, eager", 0), lambda inputs: {"y": last})
    assert not found.passed
