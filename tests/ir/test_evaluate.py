"""The interpreter: precision, subgraphs, functions, weights, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from graphs import compute, parse, run

from compiler.errors import CompileError, InternalError
from compiler.ir.evaluate import Evaluator

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------
# Precision

TYPED = """
<ir_version: 10, opset_import: ["" : 24]> g (float16[2] x) => (float16[2] y, float[2] z, int32[2] n)
<float[2] w = {0.1, 0.2}> {
  wide = Cast<to = 1>(x)
  one = Constant<value = float {1.0}>()
  s = Add(wide, w)
  z = Add(s, one)
  y = Cast<to = 10>(z)
  n = Cast<to = 6>(z)
}
"""


def test_in_the_types_of_the_graph() -> None:
    y, z, n = run(TYPED, np.array([1, 2], np.float16))
    assert (y.dtype, z.dtype, n.dtype) == (np.float16, np.float32, np.int32)


def test_precise_raises_every_float_and_nothing_else() -> None:
    y, z, n = run(TYPED, np.array([1, 2], np.float16), precise=True)
    assert (y.dtype, z.dtype, n.dtype) == (np.float64, np.float64, np.int32)
    # The weights are the float32 numbers that they are; what is computed with them is not rounded again.
    np.testing.assert_array_equal(y, np.array([2, 3]) + np.array([0.1, 0.2], np.float32).astype(np.float64))


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("ConstantOfShape", [np.array([2])], {}),
        ("EyeLike", [np.zeros((2, 2), np.int32)], {"dtype": 1}),
        ("RandomNormal", [], {"shape": [2], "dtype": 1, "seed": 1.0}),
        ("RandomUniformLike", [np.zeros(2, np.int32)], {"dtype": 10}),
        ("DequantizeLinear", [np.array([3], np.int8), np.float32(0.1)], {}),
        ("HannWindow", [np.int64(4)], {"output_datatype": 1}),
        ("Constant", [], {"value_float": 0.1}),
        ("Constant", [], {"value_floats": [0.1]}),
    ],
)
def test_precise_raises_what_attributes_say(op_type: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    assert compute(op_type, *inputs, precise=True, **attributes).dtype == np.float64


def test_float_attributes_are_float32_as_in_the_file() -> None:
    assert compute("LeakyRelu", np.array([-1.0]), alpha=0.1) == -np.float64(np.float32(0.1))


def test_layer_normalization_is_not_cast_inside() -> None:
    x = RNG.standard_normal((3, 64)) + 1e6
    y = compute("LayerNormalization", x.astype(np.float32), np.ones(64, np.float32), precise=True)
    wide = x.astype(np.float32).astype(np.float64)
    want = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + np.float32(1e-5))
    np.testing.assert_allclose(y, want, rtol=1e-9)


BUCKETS = """
(float[4] x, int64[m] positions) => (int64[m] buckets, float[4] y) <float log_span = {2.0794415}, float eight = {8}> {
  p = Cast<to = 1>(positions)
  l = Log(p)
  share = Div(l, log_span)
  scaled = Mul(share, eight)
  buckets = Cast<to = 7>(scaled)
  y = Mul(x, eight)
}
"""


def test_whole_numbers_are_what_the_graph_says_they_are() -> None:
    """log(8) / 2.0794415 * 8 is 8 in float32 and rounds down to 7 in float64."""
    model = parse(BUCKETS)
    for value in (value for node in list(model.graph)[:4] for value in node.outputs):
        value.dtype = ir.DataType.FLOAT
    given = {"x": np.ones(4, np.float32), "positions": np.arange(1, 400)}
    plain, precise = (Evaluator(model, precise=raised)(given) for raised in (False, True))
    assert plain["buckets"][7] == 8
    np.testing.assert_array_equal(plain["buckets"], precise["buckets"])
    assert precise["y"].dtype == np.float64


def test_floats_that_stay_floats_are_raised_whatever_they_are_made_of() -> None:
    text = (
        "(int64[m] p) => (float[m] y, bool[m] b) <float t = {3}> { f = Cast<to = 1>(p)  y = Sqrt(f)  b = Less(f, t) }"
    )
    model = parse(text)
    model.graph[0].outputs[0].dtype = ir.DataType.FLOAT
    y = Evaluator(model, precise=True)({"p": np.array([2])})["y"]
    assert y == np.sqrt(2.0)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_low_precision(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    a, b = normal(4, 300).astype(dtype), normal(300, 5).astype(dtype)
    y = compute("MatMul", a, b)
    assert y.dtype == dtype
    # Accumulated in float32 and rounded once.
    np.testing.assert_array_equal(y, (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype))
    assert compute("Softmax", a).dtype == dtype
    assert compute("Conv", normal(1, 2, 4, 4).astype(dtype), normal(3, 2, 2, 2).astype(dtype)).dtype == dtype


def test_four_bit_weights() -> None:
    x = np.array([-8, 7, 3], ml_dtypes.int4)
    assert compute("DequantizeLinear", x, np.float32(0.5), np.array(1, ml_dtypes.int4)).tolist() == [-4.5, 3, 1]
    back = compute("QuantizeLinear", np.array([-9.0, 3.5, 2.5], np.float32), np.float32(1), np.array(0, ml_dtypes.int4))
    assert back.dtype == ml_dtypes.int4
    assert back.astype(int).tolist() == [-8, 4, 2]


# ---------------------------------------------------------------------------------------------------------------
# Subgraphs and functions


def test_a_branch_sees_the_graph_around_it() -> None:
    text = """
    (bool c, float[2] x) => (float[2] y) <float[2] w = {10, 20}> {
      d = Add(x, w)
      y = If(c) <then_branch = t () => (float[2] a) { e = Mul(d, x)  a = Add(e, w) },
                 else_branch = f () => (float[2] b) { b = Identity(d) }>
    }
    """
    x = np.array([1, 2], np.float32)
    assert run(text, np.array(True), x).tolist() == [21, 64]
    assert run(text, np.array(False), x).tolist() == [11, 22]


LOOP = """
(int64 n, float[2] x) => (float[2] y, float[m, 2] rows) {
  yes = Constant<value = bool {1}>()
  one = Constant<value = float {1.0}>()
  y, rows = Loop(n, yes, x) <body = b (int64 i, bool go, float[2] state) => (bool more, float[2] next, float[2] row) {
    f = Cast<to = 1>(i)
    limit = Constant<value = float {4.0}>()
    next = Add(state, one)
    row = Mul(state, f)
    sum = ReduceSum<keepdims = 0>(next)
    more = Less(sum, limit)
  }>
}
"""


@pytest.mark.parametrize("precise", [False, True])
def test_a_loop_carries_collects_and_ends(precise: bool) -> None:
    y, rows = run(LOOP, np.int64(5), np.zeros(2, np.float32), precise=precise)
    assert y.tolist() == [2, 2]
    assert rows.tolist() == [[0, 0], [1, 1]]
    assert rows.dtype == (np.float64 if precise else np.float32)


def test_a_loop_that_never_runs() -> None:
    y, rows = run(LOOP, np.int64(0), np.ones(2, np.float32))
    assert y.tolist() == [1, 1]
    assert rows.shape == (0, 2)


def test_a_scan_along_any_axis_and_backwards() -> None:
    text = """
    (float[2] start, float[2, 3] x) => (float[2] last, float[2, 3] all) {
      last, all = Scan(start, x) <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
        scan_output_axes = [1], scan_output_directions = [1],
        body = b (float[2] s, float[2] e) => (float[2] t, float[2] o) { t = Add(s, e)  o = Identity(t) }>
    }
    """
    last, everything = run(text, np.zeros(2, np.float32), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert last.tolist() == [3, 12]
    assert everything.tolist() == [[3, 3, 2], [12, 9, 5]]


def test_a_loop_in_a_branch_uses_values_of_the_outermost_graph() -> None:
    text = """
    (bool c, int64 n, float x) => (float y) <float w = {3}> {
      d = Mul(x, w)
      yes = Constant<value = bool {1}>()
      y = If(c) <
        then_branch = t () => (float a) {
          a = Loop(n, yes, x) <body = b (int64 i, bool g, float s) => (bool h, float o) {
            h = Identity(g)
            o = Add(s, d)
          }>
        },
        else_branch = f () => (float b) { b = Identity(x) }>
    }
    """
    assert run(text, np.array(True), np.int64(4), np.float32(1)) == 13


FUNCTIONS = """
<ir_version: 10, opset_import: ["" : 24, "my" : 1]> g (float[2] x) => (float[2] y, float[2] z, float[2] same) {
  y = my.outer<alpha = 0.5>(x, x)
  z = my.outer(x)
  same = my.pass(x)
}
<domain: "my", opset_import: ["" : 24, "my" : 1]> outer <alpha: float = 0.25> (a, b) => (c) {
  d = my.inner<slope: float = @alpha>(a)
  has = my.either(d, b)
  c = Neg(has)
}
<domain: "my", opset_import: ["" : 24]> inner <slope> (a) => (c) { c = LeakyRelu<alpha: float = @slope>(a) }
<domain: "my", opset_import: ["" : 24]> either (a, b) => (c) { c = Max(a) }
<domain: "my", opset_import: ["" : 24]> pass (a) => (a) { b = Neg(a) }
"""


def test_functions_with_attributes_defaults_and_absent_inputs() -> None:
    y, z, same = run(FUNCTIONS, np.array([-4, 4], np.float32))
    assert y.tolist() == [2, -4]
    assert z.tolist() == [1, -4]
    assert same.tolist() == [-4, 4]


def test_evaluating_functions_leaves_the_model_alone() -> None:
    model = parse(FUNCTIONS)
    uses = [len(value.uses()) for value in model.graph.inputs]
    Evaluator(model, precise=False)
    assert [len(value.uses()) for value in model.graph.inputs] == uses


def test_an_operator_without_a_kernel_runs_through_its_definition() -> None:
    x = normal(2, 3, 4, 4)
    y = compute("MeanVarianceNormalization", x, precise=True)
    wide = x.astype(np.float64)
    centered = wide - wide.mean((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(y, centered / (np.sqrt((centered**2).mean((0, 2, 3), keepdims=True)) + 1e-9), rtol=1e-6)


def test_sequences() -> None:
    text = """
    (float[4] x) => (float[4] y, int64 n) {
      two = Constant<value = int64 {2}>()
      s = SplitToSequence(x, two)
      n = SequenceLength(s)
      y = ConcatFromSequence<axis = 0>(s)
    }
    """
    y, n = run(text, np.arange(4, dtype=np.float32), precise=True)
    assert y.tolist() == [0, 1, 2, 3]
    assert y.dtype == np.float64
    assert n == 2


# ---------------------------------------------------------------------------------------------------------------
# Weights and results


def test_weights_are_mapped_from_their_file_and_converted_when_used(tmp_path: Path) -> None:
    weight = normal(512, 64)
    x = ir.val("x", ir.DataType.INT64, ["n"])
    table = ir.val("table", const_value=ir.tensor(weight, name="table"))
    node = ir.node("Gather", [table, x])
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[table], opset_imports={"": 24}, name="g")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    model = ir.load(tmp_path / "m.onnx")
    assert isinstance(model.graph.initializers["table"].const_value, ir.ExternalTensor)
    evaluator = Evaluator(model, precise=True)
    y = evaluator({"x": np.array([3, 500])})["y"]
    np.testing.assert_array_equal(y, weight[[3, 500]].astype(np.float64))
    assert not evaluator._weights._kept, "a large weight must not stay in memory twice"


def test_results_share_no_memory() -> None:
    text = """
    (float[3] x) => (float[3] y, float[3] z, float[3] w) <float[3] w = {1, 2, 3}> { y = Identity(x)  z = Identity(x) }
    """
    x = np.zeros(3, np.float32)
    model = parse(text)
    evaluator = Evaluator(model, precise=False)
    first = evaluator({"x": x})
    for array in first.values():
        array += 1
    assert x.tolist() == [0, 0, 0]
    assert evaluator({"x": x})["w"].tolist() == [1, 2, 3]
    assert first["y"].tolist() == first["z"].tolist() == [1, 1, 1]


def test_an_input_may_have_a_default() -> None:
    model = parse("(float[1] x, float[1] w = {5}) => (float[1] y) { y = Mul(x, w) }")
    evaluator = Evaluator(model, precise=False)
    x = np.array([2], np.float32)
    assert evaluator({"x": x})["y"] == 10
    assert evaluator({"x": x, "w": x})["y"] == 4


def test_values_are_forgotten_after_their_last_use() -> None:
    model = parse("(float[2] x) => (float[2] y) { a = Neg(x)  b = Neg(a)  c = Neg(b)  y = Add(c, a) }")
    steps = Evaluator(model, precise=False)._program._steps
    assert [{value.name for value in step.forgets} for step in steps] == [{"x"}, set(), {"b"}, {"a", "c"}]


# ---------------------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, "'x' is missing"),
        ({"x": np.zeros(2, np.float32), "z": np.zeros(1)}, "no input 'z'"),
        ({"x": np.zeros(2)}, "'x' is float64, not float32"),
        ({"x": np.zeros(3, np.float32)}, "has shape (3,), not [2]"),
        ({"x": np.zeros((1, 2), np.float32)}, "has shape (1, 2), not [2]"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, np.ndarray], why: str) -> None:
    evaluator = Evaluator(parse("(float[2] x) => (float[2] y) { y = Neg(x) }"), precise=False)
    with pytest.raises(InternalError, match="input") as caught:
        evaluator(inputs)
    assert why in str(caught.value)


def test_an_unknown_operator_is_named_with_its_place() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [1])
    node = ir.node("Fancy", [x], domain="com.example", name="node_7")
    node.outputs[0].name = "y"
    node.metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'layers.3', 'fancy']"
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 24, "com.example": 1}), ir_version=10)
    with pytest.raises(CompileError) as caught:
        Evaluator(model, precise=False)
    assert caught.value.code == "unsupported-op"
    assert "com.example::Fancy" in caught.value.message
    assert caught.value.where == "Fancy node_7, from layers.3"


def test_torch_is_imported_only_when_something_is_evaluated() -> None:
    code = "import sys, compiler.ir.evaluate; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
