"""Eight bits in the graph: where they stand, what they cost, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import build, normal

from compiler.contracts import Arrays
from compiler.errors import CompileError, UsageError
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import verify
from compiler.precision.boundaries import Boundaries
from compiler.precision.int8 import to_int8
from compiler.precision.ranges import CALIBRATORS, Range, ranges
from compiler.precision.recipe import Layer, Recipe, Samples, named

STATIC, DYNAMIC = Recipe("int8", "static"), Recipe("int8", "dynamic")
IMAGES = "(float[n,8,6,6] x) => (float[n,8,6,6] y) "
CONV = "c = Conv<pads = [1,1,1,1]>(x, w, b)  r = Relu(c)  d = Conv<pads = [1,1,1,1]>(r, v)  s = Add(d, x)  y = Relu(s)"


def samples(*shape: int, count: int = 4) -> list[Arrays]:
    return [{"x": normal(*shape, seed=seed)} for seed in range(count)]


def convolutions() -> ir.Model:
    return build(CONV, IMAGES, w=normal(8, 8, 3, 3) / 8, b=normal(8), v=normal(8, 8, 3, 3, seed=1) / 8)


def products() -> ir.Model:
    return build(
        "t = MatMul(x, w)  r = Relu(t)  y = Gemm(r, v, b)", w=normal(64, 96) / 8, v=normal(96, 64), b=normal(64)
    )


def lowered(model: ir.Model, recipe: Recipe, data: Samples | None) -> tuple[ir.Model, tuple[Layer, ...]]:
    model = model.clone()
    layers = to_int8(model, recipe, data)
    verify(model)
    return model, layers


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def off(model: ir.Model, other: ir.Model, inputs: Arrays) -> float:
    want, got = (Evaluator(each, precise=False)(inputs)["y"] for each in (model, other))
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def test_a_convolution_and_its_relu_are_one_kernel() -> None:
    model, layers = lowered(convolutions(), STATIC, samples(2, 8, 6, 6))
    assert operators(model)["QuantizeLinear"] == 3, (
        "what comes in, the first relu's result, and the second convolution's"
    )
    assert {layer.precision for layer in layers} == {"int8"}
    relu = next(node for node in model.graph if node.op_type == "Relu")
    conv = relu.inputs[0].producer()  # type: ignore[union-attr]
    assert conv is not None and conv.op_type == "Conv", "nothing stands between the two"
    assert off(convolutions(), model, samples(2, 8, 6, 6, count=9)[8]) < 0.02


def test_a_bias_is_as_fine_as_the_sums_it_is_added_to() -> None:
    model, _ = lowered(convolutions(), STATIC, samples(2, 8, 6, 6))
    conv = next(node for node in model.graph if node.op_type == "Conv")
    data, weights, bias = (value.producer() for value in conv.inputs)  # type: ignore[union-attr]
    codes, scale = (value.const_value.numpy() for value in bias.inputs)  # type: ignore[union-attr]
    step, steps = data.inputs[1].const_value.numpy(), weights.inputs[1].const_value.numpy()  # type: ignore[union-attr]
    assert codes.dtype == np.int32
    np.testing.assert_allclose(scale, step * steps, rtol=1e-6)
    np.testing.assert_allclose(codes * scale, normal(8), atol=float(scale.max()))


def test_signed_activations_lie_around_zero_and_leave_the_bias_alone() -> None:
    model, _ = lowered(convolutions(), Recipe("int8", "static", signed=True), samples(2, 8, 6, 6))
    zeros = [node.inputs[2].const_value.numpy() for node in model.graph if node.op_type == "QuantizeLinear"]  # type: ignore[union-attr]
    assert {(zero.dtype.name, int(zero)) for zero in zeros} == {("int8", 0)}
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert conv.inputs[2].is_initializer()  # type: ignore[union-attr]
    assert off(convolutions(), model, samples(2, 8, 6, 6)[0]) < 0.03


def test_dynamic_needs_no_data_and_leaves_convolutions() -> None:
    model, layers = lowered(products(), DYNAMIC, None)
    assert operators(model)["DynamicQuantizeLinear"] == 2
    assert off(products(), model, samples(5, 64)[0]) < 0.03
    _, layers = lowered(convolutions(), DYNAMIC, None)
    assert {layer.precision for layer in layers} == {"float32"}
    assert "--calibration" in layers[0].why


def test_by_rows_a_small_row_keeps_its_steps() -> None:
    data = samples(5, 64)[0]
    data["x"][1:] /= 1000
    data["x"][4] = 0
    rows, _ = lowered(products(), Recipe("int8", "rows"), None)
    plain, _ = lowered(products(), DYNAMIC, None)
    for model, most in ((rows, 0.02), (plain, 2.0)):
        want, got = (Evaluator(each, precise=False)(data)["y"] for each in (products(), model))
        assert np.isfinite(got).all()
        small = (want - got)[1:4] / np.abs((want - normal(64))[1:4]).max()
        assert np.abs(small).max() < most
    assert np.abs(small).max() > 0.1, "which the whole activation's range would have cost it"


@pytest.mark.parametrize("signed", [False, True])
def test_by_rows_a_row_may_lie_anywhere(signed: bool) -> None:
    data = samples(5, 64)[0]
    data["x"] += np.arange(-20, 30, 10, dtype=np.float32)[:, None]
    rows, _ = lowered(products(), Recipe("int8", "rows", signed=signed), None)
    want, got = (Evaluator(each, precise=False)(data)["y"] for each in (products(), rows))
    assert (np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)).max() < 0.02
    kinds = {node.outputs[0].dtype for node in rows.graph if node.op_type == "QuantizeLinear"}
    assert kinds == {ir.DataType.INT8 if signed else ir.DataType.UINT8}


def test_without_a_method_rows_get_ranges_where_one_range_costs_much() -> None:
    data = samples(8, 64, count=8)
    for each in data:
        each["x"][0] *= 100
    model, _ = lowered(products(), Recipe("int8"), data)
    static, _ = lowered(products(), STATIC, data)
    assert operators(model)["ReduceMax"] == 2
    assert operators(static)["ReduceMax"] == 0
    want, got, one = (Evaluator(each, precise=False)(data[7])["y"][1:] for each in (products(), model, static))
    assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want) < 0.05 * np.linalg.norm(one - want)


def test_without_a_method_data_decides() -> None:
    with_data, _ = lowered(products(), Recipe("int8"), samples(5, 64))
    without, _ = lowered(products(), Recipe("int8"), None)
    assert operators(with_data)["QuantizeLinear"] == 2
    assert operators(without)["DynamicQuantizeLinear"] == 2


def test_what_is_kept_stays_and_says_so() -> None:
    model, layers = lowered(products(), Recipe("int8", "dynamic", keep=("layers.0*",)), None)
    assert [(layer.operator, layer.precision, layer.why) for layer in layers] == [
        ("MatMul", "float32", "--keep names it"),
        ("Gemm", "int8", ""),
    ]
    assert model.graph.initializers["w"].dtype is ir.DataType.FLOAT


def test_the_error_of_each_layer_is_told_where_there_is_data() -> None:
    _, layers = lowered(products(), STATIC, samples(5, 64))
    assert all(layer.error is not None and 0 < layer.error < 0.03 for layer in layers)
    _, layers = lowered(products(), DYNAMIC, None)
    assert all(layer.error is None for layer in layers)


def test_channels_of_unequal_size_are_smoothed() -> None:
    """One channel a thousand times as large as the rest costs all others their steps, if nothing is done."""
    body, uneven = "t = LayerNormalization(x, g)  y = MatMul(t, w)", np.ones(64, np.float32)
    uneven[5] = 1000
    weights = normal(64, 64)
    weights[5] /= 1000
    model = build(body, g=uneven, w=weights)
    smoothed, _ = lowered(model, DYNAMIC, samples(32, 64))
    plain, _ = lowered(model, DYNAMIC, None)
    data = samples(32, 64, count=6)[5]
    assert off(model, smoothed, data) < 0.02 < 0.2 < off(model, plain, data)
    assert "Mul" not in operators(smoothed), "the normalisation divides"


def test_a_residual_keeps_what_it_had() -> None:
    uneven = np.ones(64, np.float32)
    uneven[5] = 1000
    weights = normal(64, 64)
    weights[5] /= 1000
    model = build("t = LayerNormalization(x, g)  m = MatMul(t, w)  y = Add(m, t)", g=uneven, w=weights)
    smoothed, _ = lowered(model, DYNAMIC, samples(32, 64))
    assert operators(smoothed)["Mul"] == 1, "the sum takes what is not divided"
    assert off(model, smoothed, samples(32, 64)[0]) < 0.02


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_every_calibrator_finds_a_range_that_serves(calibrator: str) -> None:
    model, _ = lowered(products(), Recipe("int8", "static", calibrator=calibrator), samples(16, 64))
    assert off(products(), model, samples(16, 64, count=6)[5]) < 0.05


def test_calibrators_differ_in_what_they_clip() -> None:
    outlier = samples(256, 64)
    outlier[0]["x"][0, 0] = 100
    found = {name: ranges(products(), ["x"], outlier, name)["x"].high for name in CALIBRATORS}
    assert found["minmax"] == 100
    assert found["percentile"] < 5
    assert found["mse"] < 100


def test_a_range_holds_zero() -> None:
    assert Range(0.0, 255.0).zero == 0
    assert Range(-255.0, 0.0).zero == 255
    assert ranges(products(), ["r"], samples(4, 64), "minmax")["r"].low == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_leads_to_no_number_is_refused(value: float) -> None:
    bad = samples(4, 64)
    bad[1]["x"][0, 0] = value
    with pytest.raises(CompileError) as caught:
        lowered(products(), Recipe("int8", "static", keep=()), bad)
    assert caught.value.code == "calibration-values"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe("int8", "statik"), "knows no method"),
        (Recipe("int8", "static"), "needs data"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: Recipe, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lowered(products(), recipe, None)


def test_an_unknown_calibrator_is_refused() -> None:
    with pytest.raises(UsageError, match="no calibrator"):
        lowered(products(), Recipe("int8", "static", calibrator="median"), samples(4, 64))


def test_precisions_have_short_names() -> None:
    assert [named(text) for text in ("bf16", "fp16", "int8")] == ["bfloat16", "float16", "int8"]
    with pytest.raises(UsageError) as caught:
        named("int9")
    assert "int8" in str(caught.value.hint)


def test_what_lies_on_a_boundary_is_looked_at_from_both_sides() -> None:
    """A half rounds to even here, and up elsewhere: both are honest."""
    body = "z = Cast<to = 2>(zero)  q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z)"
    model = build(body, s=np.asarray(1.0), zero=np.asarray(0.0))
    x = np.full((1, 64), 2.25, np.float32)
    x[0, 0] = 2.5
    oracle = Evaluator(model, precise=True)({"x": x})
    shaken = Boundaries(model).shaken({"x": x}, oracle)
    assert shaken is not None
    assert oracle["y"][0, 0] == 2.0
    assert shaken["y"][0, 0] == 3.0
    np.testing.assert_array_equal(shaken["y"][0, 1:], oracle["y"][0, 1:])


def test_a_graph_without_codes_has_no_boundaries() -> None:
    assert Boundaries(products()).shaken(samples(2, 64)[0], {}) is None
