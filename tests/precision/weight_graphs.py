"""Small graphs with weights that become few bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import NAME_SCOPES
from compiler.ir.verify import signature_of, verify
from compiler.precision.recipe import Layer, Recipe
from compiler.precision.weights import quantize_weights

INT8, INT4 = Recipe("int8", "rtn"), Recipe("int4", "rtn", group_size=32)

HEADER = '<ir_version: 10, opset_import: ["" : 24]> g '
SIG = "(float[n,64] x) => (float[n,64] y) "


def build(body: str, signature: str = SIG, **weights: np.ndarray) -> ir.Model:
    """A graph from text, on these weights."""
    given = {name: array.astype(np.float32) for name, array in weights.items()}
    names = ", ".join(f"float[{','.join(map(str, array.shape))}] {name}" for name, array in given.items())
    parsed = onnx.parser.parse_model(f"{HEADER}{signature} <{names}> {{ {body} }}")
    parsed.graph.ClearField("value_info")
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in given.items())
    model = ir.from_proto(parsed)
    verify(model)
    for number, node in enumerate(model.graph):
        node.metadata_props[NAME_SCOPES] = repr(["", f"layers.{number}", node.op_type])
    return model


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def quantize(model: ir.Model, recipe: Recipe) -> tuple[Layer, ...]:
    """Quantize and hold the pass to what any rewrite keeps."""
    signature = signature_of(model)
    layers = quantize_weights(model, recipe, None)
    verify(model)
    assert signature_of(model) == signature
    return layers


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def error(before: ir.Model, after: ir.Model, **inputs: np.ndarray) -> float:
    (want,), (have,) = (Evaluator(model, precise=True)(inputs).values() for model in (before, after))
    return float(np.linalg.norm(have - want) / np.linalg.norm(want))


def stored(model: ir.Model) -> dict[ir.DataType, list[list[int]]]:
    """The shapes of all initializers, by element type."""
    found: dict[ir.DataType, list[list[int]]] = {}
    for value in model.graph.initializers.values():
        assert value.dtype is not None and value.shape is not None
        found.setdefault(value.dtype, []).append([int(dim) for dim in value.shape])
    return found


LAYERS = {
    "MatMul": ("y = MatMul(x, w)", (64, 64), 0),
    "Gemm": ("y = Gemm(x, w)", (64, 64), 0),
    "Gemm with transB": ("y = Gemm<transB = 1>(x, w)", (64, 64), 1),
    "behind a Transpose": ("t = Transpose<perm = [1, 0]>(w)  y = MatMul(x, t)", (64, 64), 1),
}

TIED = "h = Gather(w, i)  t = Transpose<perm = [1, 0]>(w)  y = MatMul(h, t)"
TIED_SIG = "(int64[n] i) => (float[n,100] y) "
