"""GPTQ and AWQ against rounding to the nearest, on data whose columns are correlated and of different size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import INT4, INT8, build, error, normal, operators, stored

from compiler.contracts import Arrays
from compiler.errors import CompileError, UsageError
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import signature_of, verify
from compiler.precision import weights_inputs
from compiler.precision.awq import awq, lost
from compiler.precision.gptq import gptq
from compiler.precision.recipe import Layer, Recipe, Samples
from compiler.precision.rounding import Grid, nearest
from compiler.precision.weights import quantize_weights

GRID = Grid(4, 32, symmetric=True)


def inputs(count: int, width: int = 64, seed: int = 0) -> np.ndarray:
    """What layers get in practice: columns that go together, and a few that are large."""
    rng = np.random.default_rng(7)
    mix = rng.standard_normal((width, width)) / np.sqrt(width)
    sizes = np.exp(rng.standard_normal(width))
    return (np.random.default_rng(seed).standard_normal((count, width)) @ mix * sizes).astype(np.float32)


def second(x: np.ndarray) -> np.ndarray:
    return x.T @ x / len(x)


def off(have: np.ndarray, want: np.ndarray, x: np.ndarray) -> float:
    return float(np.sqrt(lost(have - want, second(x)) / lost(want, second(x))))


class Draws:
    """Calibration data that counts how often it was read."""

    def __init__(self, count: int = 6, name: str = "x", width: int = 64) -> None:
        self.count, self.name, self.width, self.read = count, name, width, 0

    def __iter__(self) -> Iterator[Arrays]:
        self.read += 1
        return ({self.name: inputs(40, self.width, seed)} for seed in range(1, 1 + self.count))


# -- arrays ---------------------------------------------------------------------------------------------------------


def test_both_are_better_than_the_nearest_on_other_data_too() -> None:
    rows, learn, judge = normal(96, 64), inputs(400, seed=1), inputs(400, seed=2)
    plain = off(nearest(rows, GRID).rows, rows, judge)
    scaled = awq([(rows, GRID)], second(learn), np.abs(learn).mean(axis=0))
    assert scaled is not None
    assert off(scaled.rows(0), rows, judge) < 0.9 * plain
    assert off(gptq([(rows, GRID)], second(learn))[0].rows, rows, judge) < 0.75 * plain


@pytest.mark.parametrize("grid", [GRID, Grid(4, 32, symmetric=False), Grid(8, 0, symmetric=True)], ids=str)
def test_gptq_stays_on_the_grid(grid: Grid) -> None:
    rows = normal(96, 64)
    rounded = gptq([(rows, grid)], second(inputs(400)))[0]
    assert rounded.codes.min() >= grid.low
    assert rounded.codes.max() <= grid.high
    assert off(rounded.rows, rows, inputs(400, seed=2)) < off(nearest(rows, grid).rows, rows, inputs(400, seed=2))


def test_gptq_of_independent_columns_is_the_nearest() -> None:
    rows = normal(96, 64)
    np.testing.assert_array_equal(
        gptq([(rows, GRID)], np.eye(64, dtype=np.float32))[0].codes, nearest(rows, GRID).codes
    )


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_gptq_of_columns_that_were_never_seen(samples: int) -> None:
    """Far fewer samples than columns, or none: H has no inverse of its own."""
    x = inputs(4)[:samples]
    x[:, 5] = 0
    rows = normal(96, 64)
    rounded = gptq([(rows, GRID)], x.T @ x)[0]
    assert np.linalg.norm(rounded.rows - rows) < 0.5 * np.linalg.norm(rows)


def test_gptq_needs_more_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, h = normal(20, 64), second(inputs(400))
    whole = gptq([(rows, GRID)], h)[0]
    monkeypatch.setattr("compiler.precision.gptq._BLOCK", 24)
    parts = gptq([(rows, GRID)], h)[0]
    assert np.mean(whole.codes != parts.codes) < 0.01  # sums in another order


def test_awq_finds_nothing_where_all_columns_are_alike() -> None:
    x = normal(4000, 64)
    assert awq([(normal(96, 64, seed=1), GRID)], np.eye(64, dtype=np.float32), np.ones(64, np.float32)) is None
    assert awq([(normal(96, 64), GRID)], second(x) * 0, x[0] * 0) is None


# -- graphs ---------------------------------------------------------------------------------------------------------

BLOCK = (
    "n = RMSNormalization<axis = -1>(x, r)  a = MatMul(n, gate)  s = Swish(a)  b = MatMul(n, up)  m = Mul(s, b)"
    "  d = MatMul(m, down)  y = Add(x, d)"
)


def block() -> ir.Model:
    gains = np.exp(normal(64, seed=9))
    return build(BLOCK, r=gains, gate=normal(64, 96) / 8, up=normal(64, 96, seed=1) / 8, down=normal(96, 64) / 10)


def quantized(model: ir.Model, recipe: Recipe, samples: Samples | None) -> tuple[ir.Model, tuple[Layer, ...]]:
    low = model.clone()
    layers = quantize_weights(low, recipe, samples)
    verify(low)
    assert signature_of(low) == signature_of(model)
    return low, layers


def test_in_a_graph_both_are_better_than_the_nearest() -> None:
    model = block()
    x = inputs(200, seed=99)
    errors, layers = {}, {}
    for method in ("rtn", "gptq", "awq", "auto"):
        low, layers[method] = quantized(model, replace(INT4, method=method), Draws())
        errors[method] = error(model, low, x=x)
    assert errors["gptq"] < errors["rtn"]
    assert errors["awq"] < errors["rtn"]
    assert errors["auto"] < 1.05 * min(errors["gptq"], errors["awq"])
    for one, other in zip(layers["auto"], layers["rtn"], strict=True):
        assert one.error is not None
        assert other.error is not None
        assert one.error < other.error


def test_the_error_of_a_layer_is_what_its_output_changes_by() -> None:
    model = build("y = MatMul(x, w)", w=normal(64, 64))
    for method in ("rtn", "gptq", "awq", "auto"):
        low, (layer,) = quantized(model, replace(INT8, method=method), samples := Draws())
        x = np.concatenate([sample["x"] for sample in samples])
        assert layer.error == pytest.approx(error(model, low, x=x), rel=1e-3)


def test_scales_of_columns_go_into_the_norm_and_into_the_layer_before() -> None:
    """A product is left only where nobody takes the division in."""
    low, _ = quantized(block(), replace(INT4, method="awq"), Draws())
    assert [kind for kind in operators(low) if kind != "DequantizeLinear"] == [
        "RMSNormalization", "MatMul", "Swish", "MatMul", "Mul", "MatMul", "Add"
    ]  # fmt: skip
    gains = low.graph[0].inputs[1]
    assert gains is not None and gains.const_value is not None
    assert not np.allclose(gains.const_value.numpy(), np.exp(normal(64, seed=9)))


def test_a_norm_that_others_read_keeps_its_scale() -> None:
    model = build(f"{BLOCK.replace('y = ', 'z = ')}  y = Add(z, n)", **{
        value.name: value.const_value.numpy() for value in block().graph.initializers.values() if value.const_value
    })  # fmt: skip
    low, _ = quantized(model, replace(INT4, method="awq"), Draws())
    norm = next(node for node in low.graph if node.op_type == "RMSNormalization")
    assert norm.inputs[1] is not None and norm.inputs[1].const_value is not None
    np.testing.assert_array_equal(norm.inputs[1].const_value.numpy(), np.exp(normal(64, seed=9)))
    assert operators(low).count("Mul") == 2


def test_layers_that_share_an_input_are_measured_once_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = block()
    whole, _ = quantized(model, replace(INT4, method="gptq"), at_once := Draws())
    monkeypatch.setattr(weights_inputs, "AT_ONCE", 4 * 96**2)
    parts, _ = quantized(model, replace(INT4, method="gptq"), in_turn := Draws())
    assert (at_once.read, in_turn.read) == (1, 2)
    x = inputs(20, seed=5)
    (one,), (other,) = (Evaluator(low, precise=True)({"x": x}).values() for low in (whole, parts))
    np.testing.assert_array_equal(one, other)


def test_a_weight_of_two_layers_is_rounded_for_both() -> None:
    model = build("a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, w)  y = Add(c, x)", w=normal(64, 64))
    low, layers = quantized(model, replace(INT4, method="auto"), Draws())
    plain, _ = quantized(model, INT4, None)
    assert stored(low)[ir.DataType.INT4] == [[64, 64]]
    assert [layer.weights for layer in layers] == [4096, 0]
    assert error(model, low, x=inputs(50, seed=9)) < error(model, plain, x=inputs(50, seed=9))


def test_methods_that_need_samples_say_so() -> None:
    for method in ("gptq", "awq"):
        with pytest.raises(UsageError) as caught:
            quantized(block(), replace(INT4, method=method), None)
        assert caught.value.code == "no-calibration"
    with pytest.raises(UsageError) as caught:
        quantized(block(), replace(INT4, method="gptp"), Draws())
    assert "gptq" in str(caught.value.hint)
    _, layers = quantized(block(), replace(INT4, method="auto"), None)
    assert [layer.error for layer in layers] == [None] * 3


def test_samples_that_the_model_cannot_take_are_refused_and_huge_ones_tell_nothing() -> None:
    model = build("a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, w)", w=normal(64, 64))
    with pytest.raises(CompileError) as caught:
        quantized(model, replace(INT4, method="auto"), [{"x": np.full((1, 64), np.nan, np.float32)}])
    assert caught.value.code == "calibration-values"
    huge, _ = quantized(model, replace(INT4, method="auto"), [{"x": np.full((1, 64), 1e25, np.float32)}])
    plain, _ = quantized(model, INT4, None)
    x = inputs(5)
    (one,), (other,) = (Evaluator(low, precise=True)({"x": x}).values() for low in (huge, plain))
    np.testing.assert_array_equal(one, other)


def test_twice_gives_the_same() -> None:
    one, _ = quantized(block(), replace(INT4, method="auto"), Draws())
    other, _ = quantized(block(), replace(INT4, method="auto"), Draws())
    for name, value in one.graph.initializers.items():
        assert value.const_value is not None
        again = other.graph.initializers[name].const_value
        assert again is not None and again.tobytes() == value.const_value.tobytes()
