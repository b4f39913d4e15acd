"""Weights in few bits in ONNX Runtime: what our passes make of them, and that it computes what the graph says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from weight_graphs import INT4, INT8, LAYERS, TIED, TIED_SIG, build, normal, operators, quantize

import backends
from backends.onnxruntime import options
from backends.onnxruntime.passes.few_bit_weights import FewBitWeights
from compiler.ir.evaluate import Evaluator
from compiler.passes.dequantize_rows import DequantizeRows
from compiler.passes.legalize import Legalize
from compiler.passes.pipeline import run_passes
from compiler.passes.rewriting import Edit
from compiler.precision.rounding import Grid, nearest
from compiler.precision.weights_found import find
from compiler.precision.weights_stored import store

ROUNDING = 1e-5  # of float32 in a sum of some hundred products; eight bits would be off by 1e-2


def lower(model: ir.Model) -> ir.Model:
    """All that the target does with a graph."""
    backend, lowered = backends.get("onnxruntime"), model.clone()
    passes = [Legalize(backend.legality), *backend.passes()]
    run_passes(lowered, [(type(one).__name__, one) for one in passes])
    return lowered


def session(model: ir.Model, **given: str) -> onnxruntime.InferenceSession:
    made = options.session_options({"threads": 1, **given})
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), made, providers=["CPUExecutionProvider"]
    )


def off(model: ir.Model, lowered: ir.Model, **inputs: np.ndarray) -> float:
    """How far the runtime is from the graph, relative to the size of what it computes."""
    (want,) = Evaluator(model, precise=True)(inputs).values()
    (have,) = session(lowered).run(None, inputs)
    return float(np.abs(have - want).max() / np.sqrt(np.mean(want**2)))


def weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [16, 32, 64])
@pytest.mark.parametrize("body,shape,summed", LAYERS.values(), ids=LAYERS)
def test_four_bits_stay_four_bits(body: str, shape: tuple[int, ...], summed: int, group: int, symmetric: bool) -> None:
    model = build(f"{body.replace('y =', 'h =')}  y = Mul(h, x)", w=normal(*shape))
    quantize(model, replace(INT4, group_size=group, symmetric=symmetric))
    lowered = lower(model)
    assert operators(lowered) == ["MatMulNBits", "Mul"]
    assert weight_bytes(lowered) <= weight_bytes(model) + 64
    for rows in (1, 7, 40):
        assert off(model, lowered, x=normal(rows, 64, seed=1)) < ROUNDING


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("body,shape,summed", LAYERS.values(), ids=LAYERS)
def test_eight_bits_are_not_left_to_the_runtimes_own_fusion(
    body: str, shape: tuple[int, ...], summed: int, symmetric: bool
) -> None:
    model = build(body, w=normal(*shape))
    quantize(model, replace(INT8, symmetric=symmetric))
    lowered = lower(model)
    assert "DequantizeLinear" not in operators(lowered)
    for rows in (1, 40):
        assert off(model, lowered, x=normal(rows, 64, seed=1)) < ROUNDING


def test_a_gemm_keeps_its_bias() -> None:
    body = "h = Gemm<transB = 1>(x, w, b)  y = Mul(h, x)"
    model = build(body, w=normal(64, 64), b=normal(64, seed=2))
    quantize(model, INT4)
    lowered = lower(model)
    assert operators(lowered) == ["MatMulNBits", "Mul"]
    assert off(model, lowered, x=normal(3, 64, seed=1)) < ROUNDING


@pytest.mark.parametrize("length", [48, 100, 300])
@pytest.mark.parametrize("symmetric", [True, False])
def test_one_scale_for_a_channel_is_many_blocks_and_the_last_may_be_short(length: int, symmetric: bool) -> None:
    signature = f"(float[n,{length}] x) => (float[n,33] y) "
    model = build("y = MatMul(x, w)", signature, w=normal(length, 33))
    by_channel(model, symmetric=symmetric)
    lowered = model.clone()
    assert FewBitWeights()(lowered).modified
    assert not FewBitWeights()(lowered).modified
    assert operators(lowered) == ["MatMulNBits"]
    assert off(model, lowered, x=normal(5, length, seed=1)) < ROUNDING


def by_channel(model: ir.Model, *, symmetric: bool) -> None:
    edit, (weight,) = Edit(model), find(model, ())
    store(edit, weight, nearest(weight.rows(), Grid(4, 0, symmetric)), weight.users[0].node)
    edit.finish()


def test_layers_that_share_a_weight_share_it_still() -> None:
    model = build("a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, w)  y = Mul(c, x)", w=normal(64, 64))
    quantize(model, INT4)
    lowered = lower(model)
    assert operators(lowered).count("MatMulNBits") == 2
    assert weight_bytes(lowered) <= weight_bytes(model)
    assert off(model, lowered, x=normal(5, 64, seed=1)) < ROUNDING


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_table_stays_in_eight_bits(symmetric: bool) -> None:
    model = build(TIED, TIED_SIG, w=normal(100, 64))
    quantize(model, replace(INT8, symmetric=symmetric))
    lowered = lower(model)
    (table,) = (node for node in lowered.graph if node.op_type == "DequantizeLinear")
    assert table.inputs[0] is not None
    assert table.inputs[0].producer().op_type == "Gather"
    assert off(model, lowered, i=np.array([3, -1, 0, 99])) < ROUNDING
    alone = build("h = Gather(w, i)  y = Relu(h)", "(int64[n,m] i) => (float[n,m,64] y) ", w=normal(100, 64))
    quantize(alone, replace(INT8, symmetric=symmetric))
    assert off(alone, lower(alone), i=np.array([[3, -1], [0, 99]])) < ROUNDING


def test_whole_numbers_on_both_sides_are_left_to_the_runtime() -> None:
    """It has kernels for products of whole numbers, and looks for them behind DequantizeLinear."""
    signature = "(int8[n,64] q, int8[64,64] v, float s) => (float[n,64] y) "
    body = "x = DequantizeLinear(q, s)  w = DequantizeLinear(v, s)  y = MatMul(x, w)"
    model = build(body, signature)
    for name, array in (("v", normal(64, 64).astype(np.int8)), ("s", np.array(0.5, np.float32))):
        held = next(value for value in model.graph.inputs if value.name == name)
        model.graph.inputs.remove(held)
        held.const_value = ir.Tensor(array, name=name)
        model.graph.register_initializer(held)
    assert not FewBitWeights()(model).modified


def test_left_alone_the_runtime_computes_another_graph() -> None:
    """Why there are passes of our own: its fusion rounds what goes into the product to eight bits."""
    model = build("h = MatMul(x, w)  y = Mul(h, x)", w=normal(64, 64))
    quantize(model, INT4)
    x = normal(5, 64, seed=1)
    plain = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]
    (want,) = Evaluator(model, precise=True)({"x": x}).values()
    rounded = np.abs(plain - want).max() / np.sqrt(np.mean(want**2))
    assert rounded > 1e-3
    assert off(model, model, x=x) < ROUNDING  # with the options that our sessions have


def test_a_table_whose_indices_have_no_known_rank_is_left() -> None:
    model = build("h = Gather(w, i)  y = Relu(h)", "(int64[n] i) => (float[n,64] y) ", w=normal(100, 64))
    quantize(model, INT8)
    model.graph.inputs[0].shape = None
    rows = DequantizeRows()
    assert not rows(model).modified
    assert "how many dimensions" in rows.take_declined()[0]
