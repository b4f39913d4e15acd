"""Weights in few bits on every target: the numbers hold to the graph, and what is written stays small where it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import INT4, INT8, build, normal, quantize

import backends
from compiler.contracts import Unavailable
from compiler.errors import CompileError
from compiler.ir.evaluate import Evaluator
from compiler.ir.store import save
from compiler.ir.verify import signature_of
from compiler.passes.infer_shapes import InferShapes
from compiler.passes.legalize import Legalize
from compiler.passes.pipeline import run_passes
from compiler.precision.recipe import Recipe

# A table that is the head, too, and two layers in between.
BODY = (
    "h = Gather(w, i)  a = MatMul(h, u)  b = Relu(a)  c = Gemm<transB = 1>(b, v, bias)  d = Add(c, h)"
    "  t = Transpose<perm = [1, 0]>(w)  y = MatMul(d, t)"
)
RECIPES = {
    "int4": replace(INT4, group_size=64),
    "uint4": replace(INT4, group_size=64, symmetric=False),
    "int8": INT8,
    "uint8": replace(INT8, symmetric=False),
}
ROUNDING = 3e-5  # of three products in float32; activations in eight bits would be off by 1e-2
SMALL = {"onnxruntime", "openvino"}  # TVM packs weights in float32


def model(recipe: Recipe) -> ir.Model:
    weights = {"w": normal(300, 128), "u": normal(128, 256, seed=1) / 11, "v": normal(128, 256, seed=2) / 16}
    made = build(BODY, "(int64[5] i) => (float[5,300] y) ", **weights, bias=normal(128))
    quantize(made, recipe)
    InferShapes()(made)
    return made


def lowered(name: str, made: ir.Model, folder: Path) -> tuple[ir.Model, Path]:
    backend, low = backends.get(name), made.clone()
    passes = [Legalize(backend.legality, name), *backend.passes()]
    run_passes(low, [(type(one).__name__, one) for one in passes])
    graph = folder / ".graph" / "graph.onnx"
    graph.parent.mkdir()
    save(low, graph)
    return low, graph


def constants(made: ir.Model) -> list[ir.TensorProtocol]:
    return [value.const_value for value in made.graph.initializers.values() if value.const_value is not None]


def needs(name: str) -> None:
    state = backends.get(name).probe()
    if isinstance(state, Unavailable):
        pytest.skip(state.reason)


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "openvino", "tvm"])
def test_the_runtime_computes_the_graph(name: str, kind: str, tmp_path: Path) -> None:
    needs(name)
    made = model(RECIPES[kind])
    _, graph = lowered(name, made, tmp_path)
    backend = backends.get(name)
    artifact = backend.build(graph, signature_of(made), {}, tmp_path)
    given = {"i": np.array([3, 1, 299, 0, 17])}
    (want,) = Evaluator(made, precise=True)(given).values()
    with backend.open(artifact, tmp_path, {}) as session:
        (have,) = session(given).values()
    assert np.abs(have - want).max() < ROUNDING * np.sqrt(np.mean(want**2))
    if name in SMALL:
        size = sum((tmp_path / file).stat().st_size for file in artifact.files)
        assert (
            size
            < sum(value.const_value.nbytes for value in made.graph.initializers.values() if value.const_value) * 1.25
        )


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_tensorrt_keeps_the_weights_small(kind: str, tmp_path: Path) -> None:
    needs("tensorrt")
    weights = {"u": normal(512, 1024, seed=1), "v": normal(512, 1024, seed=2)}
    body = "a = MatMul(x, u)  b = Relu(a)  c = Gemm<transB = 1>(b, v)  y = Add(c, x)"
    made = build(body, "(float[8,512] x) => (float[8,512] y) ", **weights)
    quantize(made, RECIPES[kind])
    _, graph = lowered("tensorrt", made, tmp_path)
    artifact = backends.get("tensorrt").build(graph, signature_of(made), {}, tmp_path)
    size = sum((tmp_path / file).stat().st_size for file in artifact.files)
    assert size < 0.45 * sum(array.nbytes for array in weights.values())


def test_tensorrt_takes_no_zero_points(tmp_path: Path) -> None:
    needs("tensorrt")
    with pytest.raises(CompileError, match="TensorRT cannot build this model"):
        _, graph = lowered("tensorrt", model(RECIPES["uint4"]), tmp_path)
        backends.get("tensorrt").build(graph, signature_of(model(RECIPES["uint4"])), {}, tmp_path)
