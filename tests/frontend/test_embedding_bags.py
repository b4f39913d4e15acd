"""embedding_bag comes out in operators that every target takes, with the numbers of PyTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

import compiler
from compiler.frontend.onnx_export import from_exported

ROWS, WIDTH = 11, 3

# One bag is empty in the middle, one at the end; row 2 is where some models put their padding.
INDICES = np.array([1, 2, 2, 5, 2, 2, 7, 10, 2], np.int64)
OFFSETS = np.array([0, 3, 3, 4, 6, 9], np.int64)

LOOPS = {"Loop", "If", "Scan", "SequenceEmpty", "SequenceInsert", "ConcatFromSequence"}

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's own use of its own past


class Bag(nn.Module):
    def __init__(self, mode: str, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(ROWS, WIDTH, mode=mode, **more)
        nn.init.normal_(self.bag.weight)

    def forward(self, x: torch.Tensor, offsets: Any = None, scale: Any = None) -> torch.Tensor:
        return self.bag(x, offsets, scale)


class Graph:
    """The exported graph, before any pass."""

    def __init__(self, exported: ExportedProgram) -> None:
        self.model = from_exported(exported, 24, retry=lambda: None, translations={})
        nodes = ir.traversal.RecursiveGraphIterator(self.model.graph)
        self.operators = {node.op_type for node in nodes}

    def agrees(self, module: nn.Module, *inputs: Any) -> None:
        tensors = [torch.from_numpy(array) if array is not None else None for array in inputs]
        with torch.no_grad():
            want = module(*tensors)
        session = onnxruntime.InferenceSession(ir.to_proto(self.model).SerializeToString())
        names = [entry.name for entry in session.get_inputs()]
        given = [array for array in inputs if array is not None]
        (have,) = session.run(None, dict(zip(names, given, strict=True)))
        np.testing.assert_allclose(have, want.numpy(), rtol=1e-5, atol=1e-6)


def exported(module: nn.Module, *inputs: Any, dims: Any = None, decomposed: bool = False) -> Graph:
    tensors = tuple(torch.from_numpy(array) if array is not None else None for array in inputs)
    program = export(module.eval(), tensors, dynamic_shapes=dims)
    return Graph(program.run_decompositions() if decomposed else program)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_size(mode: str, padding: int | None, decomposed: bool) -> None:
    module = Bag(mode, padding_idx=padding)
    rows = np.array([[1, 2, 2, 5], [2, 2, 2, 2], [10, 10, 10, 10]], np.int64)  # the latter are nothing but padding
    graph = exported(module, rows, dims=({0: Dim("batch")},), decomposed=decomposed)
    assert not graph.operators & {*LOOPS, "ScatterElements", "CumSum"}
    graph.agrees(module, rows)
    graph.agrees(module, np.repeat(rows, 2, 0))


def test_bags_whose_size_is_dynamic_too_and_whose_rows_are_scaled() -> None:
    module = Bag("sum")
    rng = np.random.default_rng(0)
    x, scale = rng.integers(0, ROWS, (3, 5)), rng.standard_normal((3, 5), np.float32)
    both = {0: Dim("batch"), 1: Dim("size")}
    graph = exported(module, x, None, scale, dims=(both, None, both))
    assert not graph.operators & {*LOOPS, "ScatterElements", "CumSum"}
    graph.agrees(module, x[:2, :3].copy(), None, scale[:2, :3].copy())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_that_begin_where_offsets_say(mode: str, padding: int | None, last: bool) -> None:
    module = Bag(mode, padding_idx=padding, include_last_offset=last)
    graph = exported(module, INDICES, OFFSETS, dims=({0: Dim("indices")}, {0: Dim("bags", min=3)}))
    assert not graph.operators & LOOPS
    graph.agrees(module, INDICES, OFFSETS)
    graph.agrees(module, INDICES[::-1][:5].copy(), np.array([0, 0, 0, 1, 5, 5, 5]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_scaled_rows_of_irregular_bags(dtype: Any) -> None:
    module = Bag("sum")
    scale = np.random.default_rng(1).standard_normal(INDICES.size).astype(np.float32)
    inputs = (INDICES.astype(dtype), OFFSETS.astype(dtype), scale)
    graph = exported(module, *inputs)
    graph.agrees(module, *inputs)


def test_bags_that_only_look_regular() -> None:
    """The last bag takes what is left, and that is more than the others have."""

    class Uneven(Bag):
        def forward(self, x: torch.Tensor, offsets: Any = None, scale: Any = None) -> torch.Tensor:
            return self.bag(x, torch.arange(0, 6, 3))

    module = Uneven("sum")
    exported(module, INDICES).agrees(module, INDICES)


def test_two_bags_in_one_model() -> None:
    class Two(Bag):
        def forward(self, x: torch.Tensor, offsets: Any = None, scale: Any = None) -> torch.Tensor:
            return self.bag(x) + self.bag(x.flip(1))

    module = Two("sum")
    rows = np.array([[1, 2], [3, 4], [0, 0]], np.int64)
    exported(module, rows).agrees(module, rows)


def test_a_whole_compilation_draws_offsets_that_the_model_takes(tmp_path: Path) -> None:
    module = Bag("mean")
    specs = ["x:int64[indices=1..20]", "offsets:int64[bags=1..7]"]
    result = compiler.compile(module, specs, target="onnxruntime", output=tmp_path)
    assert result.verdict.status == "passed", result.verdict.worst
    assert result.manifest["reference"]["ranges"]["offsets"]["rising"] is True
