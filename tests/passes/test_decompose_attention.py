"""OpenVINO: Attention is spelled out."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, draw, parse, same_numbers

from backends.openvino.passes.decompose_attention import DecomposeAttention
from compiler.passes.infer_shapes import InferShapes

HEADER = '<ir_version: 10, opset_import: ["" : 24]> g '
ROUNDED = 1e-6  # the scale is a float32, and the operator takes the square root of it for either side
QKV = "float[b,2,q,8] x, float[b,2,k,8] y, float[b,2,k,8] z"


def decomposed(text: str) -> tuple[ir.Model, ir.Model]:
    model, original = parse(HEADER + text), parse(HEADER + text)
    InferShapes()(model)
    assert apply(DecomposeAttention(), model)
    assert "Attention" not in {node.op_type for node in model.graph}
    assert not apply(DecomposeAttention(), model)
    return original, model


@pytest.mark.parametrize(
    "text",
    [
        f"({QKV}) => (float[b,2,q,8] o) {{ o = Attention(x, y, z) }}",
        f"({QKV}) => (float[b,2,q,8] o) {{ o = Attention<scale = 0.5, is_causal = 1>(x, y, z) }}",
        f"({QKV}, bool[q,k] m) => (float[b,2,q,8] o) {{ o = Attention(x, y, z, m) }}",
        f"({QKV}, bool[b,1,q,k] m) => (float[b,2,q,8] o) {{ o = Attention<is_causal = 1>(x, y, z, m) }}",
        f"({QKV}, float[b,1,q,k] m) => (float[b,2,q,8] o) {{ o = Attention(x, y, z, m) }}",
        f"({QKV}, float[q,k] m) => (float[b,2,q,8] o) {{ o = Attention<is_causal = 1>(x, y, z, m) }}",
        "(float[b,4,q,8] x, float[b,2,k,8] y, float[b,2,k,8] z) => (float[b,4,q,8] o) { o = Attention(x, y, z) }",
    ],
)
def test_the_common_form_in_a_few_nodes(text: str) -> None:
    original, model = decomposed(text)
    assert len(model.graph) <= 22
    same_numbers(original, model, precise=ROUNDED)


@pytest.mark.parametrize(
    "text",
    [
        f"({QKV}) => (float[b,2,q,8] o) {{ o = Attention<softcap = 2.0>(x, y, z) }}",
        f"({QKV}, float[b,2,p,8] u, float[b,2,p,8] v) => (float[b,2,q,8] o, float[b,2,s,8] r, float[b,2,s,8] t) "
        "{ o, r, t = Attention(x, y, z, , u, v) }",
    ],
)
def test_the_rest_through_the_schema(text: str) -> None:
    original, model = decomposed(text)
    same_numbers(original, model, precise=ROUNDED)


@pytest.mark.parametrize("dtype", ["bool", "float"])
def test_a_row_without_any_key_gives_zero(dtype: str) -> None:
    original, model = decomposed(f"({QKV}, {dtype}[q,k] m) => (float[b,2,q,8] o) {{ o = Attention(x, y, z, m) }}")
    inputs = dict(draw(original))
    rows, columns = inputs["x"].shape[2], inputs["y"].shape[2]
    allowed = np.ones((rows, columns), bool)
    allowed[0] = False
    inputs["m"] = allowed if dtype == "bool" else np.where(allowed, 0, -np.inf).astype(np.float32)
    same_numbers(original, model, inputs, ROUNDED)


def test_layers_share_what_is_made_of_a_mask() -> None:
    text = f"({QKV}, bool[q,k] m) => (float[b,2,q,8] o) {{ p = Attention(x, y, z, m)  o = Attention(p, y, z, m) }}"
    _, model = decomposed(text)
    assert sum(node.op_type == "ReduceMax" for node in model.graph) == 1


@pytest.mark.parametrize(
    ("made", "rows_are_asked"),
    [
        ("<float[1,3] m = {-100, 0, -3e38}>", False),
        ("<float[2,2,3] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, int64 i = {1}> { m = Gather(w, i)", False),
        ("<float[1,3] w = {-100, 0, 1}, float[1,3] u = {-3.4e38, 0, 0}> { m = Add(w, u)", False),
        ("<bool[1,3] c = {1, 0, 1}, float low = {-3.4e38}, float zero = {0}> { m = Where(c, zero, low)", False),
        ("<bool[2,3] m = {1, 0, 1, 0, 0, 1}>", False),
        ("<float[1,3] w = {-100, 0, 1}, float[2,1] u = {1, 2}> { n = Sub(u, w) m = Mul(n, w)", False),
        ("<float[1,3] w = {-3.4e38, 0, 1}> { m = Add(w, w)", True),
        ("<bool[2,3] m = {1, 0, 1, 0, 0, 0}>", True),
        ("<bool[1,3] c = {1, 0, 1}, float low = {0}> { n = Neg(low) m = Where(c, low, n)", True),
    ],
)
def test_rows_are_asked_for_a_key_where_they_may_have_none(made: str, rows_are_asked: bool) -> None:
    qkv = "float[1,2,2,8] x, float[1,2,3,8] y, float[1,2,3,8] z"
    body = made if "{ " in made else made + " { "
    original, model = decomposed(f"({qkv}) => (float[1,2,2,8] o) {body}  o = Attention(x, y, z, m) }}")
    assert ("ReduceMax" in {node.op_type for node in model.graph}) == rows_are_asked
    same_numbers(original, model, precise=ROUNDED)
