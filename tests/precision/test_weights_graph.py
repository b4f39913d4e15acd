"""Weights in few bits: what the graph says afterwards, and what it computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from weight_graphs import INT4, INT8, LAYERS, TIED, TIED_SIG, build, error, normal, operators, quantize, stored

from compiler.ir.store import save


@pytest.mark.parametrize("body,shape,summed", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_four_bits_in_groups_along_the_summed_axis(
    body: str, shape: tuple[int, ...], summed: int, symmetric: bool
) -> None:
    body = f"{body.replace('y =', 'h =')}  y = Mul(h, x)"
    model = build(body, w=normal(*shape))
    before = model.clone()
    (layer,) = quantize(model, replace(INT4, symmetric=symmetric))
    (read,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    assert read.attributes["axis"].as_int() == summed
    assert read.attributes["block_size"].as_int() == 32
    kind = ir.DataType.INT4 if symmetric else ir.DataType.UINT4
    grouped = [2, 64] if summed == 0 else [64, 2]
    assert stored(model) == {kind: [[64, 64]] if symmetric else [[64, 64], grouped], ir.DataType.FLOAT: [grouped]}
    assert layer.precision == "int4 weights"
    assert layer.bits == 4 + (32 if symmetric else 36) / 32
    assert layer.error is None
    assert 0.01 < error(before, model, x=normal(5, 64, seed=1)) < 0.15


@pytest.mark.parametrize("body,shape,summed", LAYERS.values(), ids=LAYERS)
def test_eight_bits_by_channel(body: str, shape: tuple[int, ...], summed: int) -> None:
    model = build(body, w=normal(*shape))
    before = model.clone()
    (layer,) = quantize(model, INT8)
    (read,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    assert read.attributes["axis"].as_int() == 1 - summed
    assert stored(model) == {ir.DataType.INT8: [[64, 64]], ir.DataType.FLOAT: [[64]]}
    assert (layer.precision, layer.bits, layer.weights) == ("int8 weights", 8.5, 4096)
    assert 1e-4 < error(before, model, x=normal(5, 64, seed=1)) < 0.015


def test_a_table_that_is_also_the_head_stays_one_and_keeps_eight_bits() -> None:
    model = build(TIED, TIED_SIG, w=normal(100, 64))
    before = model.clone()
    table, head = quantize(model, INT4)
    assert operators(model) == ["DequantizeLinear", "Gather", "Transpose", "MatMul"]
    assert stored(model) == {ir.DataType.INT8: [[100, 64]], ir.DataType.FLOAT: [[100]]}
    assert (table.operator, table.weights, head.operator, head.weights) == ("Gather", 6400, "MatMul", 0)
    assert error(before, model, i=np.arange(7)) < 0.015


def test_a_head_keeps_eight_bits_and_what_goes_on_to_another_layer_is_none() -> None:
    body = "a = MatMul(x, v)  b = Relu(a)  c = MatMul(b, w)  d = Add(c, bias)  y = Softmax(d)"
    layers = quantize(build(body, v=normal(64, 64), w=normal(64, 64), bias=normal(64)), INT4)
    assert [layer.precision for layer in layers] == ["int4 weights", "int8 weights"]


def test_groups_are_halved_until_they_fit() -> None:
    body = "a = MatMul(x, v)  b = MatMul(a, w)  c = MatMul(b, u)  d = MatMul(c, t)  y = Mul(d, x)"
    model = build(body, v=normal(64, 48), w=normal(48, 100), u=normal(100, 64), t=normal(64, 64))
    layers = quantize(model, replace(INT4, group_size=64))
    reads = [node for node in model.graph if node.op_type == "DequantizeLinear"]
    assert [node.attributes.get_int("block_size", 0) for node in reads] == [64, 16, 0, 64]
    assert [layer.precision for layer in layers] == ["int4 weights", "int4 weights", "int8 weights", "int4 weights"]


def test_what_is_left_alone_says_why() -> None:
    bad = normal(64, 64)
    bad[3, 4] = np.inf
    body = (
        "a = MatMul(x, small)  b = MatMul(a, wide)  c = MatMul(b, bad)  e = Add(kept, also)"
        "  d = MatMul(c, also)  f = Add(d, e)  y = MatMul(f, kept)"
    )
    model = build(body, small=normal(64, 4), wide=normal(4, 64), bad=bad, also=normal(64, 64), kept=normal(64, 64))
    names = operators(model)
    layers = quantize(model, INT4)
    assert operators(model) == names
    assert [layer.precision for layer in layers] == ["float32"] * 5
    assert [layer.bits for layer in layers] == [32] * 5
    for layer, reason in zip(layers, ("less than", "less than", "finite", "other users", "other users"), strict=True):
        assert reason in layer.why


def test_layers_that_are_named_are_kept() -> None:
    model = build("a = MatMul(x, v)  y = MatMul(a, w)", v=normal(64, 64), w=normal(64, 64))
    for node, name in zip(model.graph, ("block.0/up", "block.0/down"), strict=True):
        node.name = name
    layers = quantize(model, replace(INT8, keep=("*/up",)))
    assert [layer.precision for layer in layers] == ["float32", "int8 weights"]


def test_the_file_is_small(tmp_path: Path) -> None:
    """Against the float32 weights: 0.27 for eight bits, 0.17 for four in groups of 64."""
    weights = {"v": normal(256, 512), "w": normal(512, 256)}
    body = "a = MatMul(x, v)  b = Relu(a)  c = MatMul(b, w)  y = Add(c, x)"
    whole = sum(array.nbytes for array in weights.values())
    for recipe, share in ((INT8, 0.27), (replace(INT4, group_size=64), 0.17)):
        model = build(body, "(float[n,256] x) => (float[n,256] y) ", **weights)
        quantize(model, recipe)
        save(model, tmp_path / "model.onnx")
        assert (tmp_path / "model.onnx").stat().st_size < share * whole
        onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)


def test_int4_numbers_are_those_of_the_standard() -> None:
    model = build("h = MatMul(x, w)  y = Mul(h, x)", w=normal(64, 64))
    quantize(model, INT4)
    values = {value.dtype: value for value in model.graph.initializers.values()}
    tensor = values[ir.DataType.INT4].const_value
    assert tensor is not None
    assert tensor.numpy().dtype == ml_dtypes.int4
    assert tensor.nbytes == 64 * 64 // 2
