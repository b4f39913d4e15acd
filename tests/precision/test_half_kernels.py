"""The evaluator rounds half precision as a runtime does: after each operator, and where results are kept."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compiler.contracts import Array, Legality
from compiler.ir.evaluate import Evaluator
from compiler.passes.infer_shapes import InferShapes
from compiler.passes.legalize import Legalize

RNG = np.random.default_rng(0)
HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
of_each_type = pytest.mark.parametrize("dtype", HALVES, ids=str)

UNARY = [
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish",
    "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tanh", "ReduceMean", "ReduceSum", "ReduceLogSumExp",
]  # fmt: skip


def model_of(operator: str, inputs: list[Array], **attributes: object) -> ir.Model:
    values = [
        ir.Value(name=f"x{place}", type=ir.TensorType(ir.DataType.from_numpy(array.dtype)), shape=ir.Shape(array.shape))
        for place, array in enumerate(inputs)
    ]
    node = ir.node(operator, values, attributes)  # type: ignore[arg-type]
    node.outputs[0].name, node.outputs[0].type = "y", values[0].type
    return ir.Model(ir.Graph(values, node.outputs, nodes=[node], opset_imports={"": 24}), ir_version=10)


def results(model: ir.Model, inputs: list[Array]) -> tuple[Array, Array]:
    """In the graph's own types, and in float64."""
    given = {f"x{place}": array for place, array in enumerate(inputs)}
    return Evaluator(model, precise=False)(given)["y"], Evaluator(model, precise=True)(given)["y"]


def narrow(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


@of_each_type
@pytest.mark.parametrize("operator", UNARY)
def test_one_operator_rounds_once(operator: str, dtype: np.dtype[np.generic]) -> None:
    x = RNG.uniform(0.1, 0.9, (4, 5)).astype(dtype)
    have, want = results(model_of(operator, [x]), [x])
    assert have.dtype == dtype
    unit = float(ml_dtypes.finfo(dtype).eps)
    # Formulas with several steps may round at each of them.
    np.testing.assert_allclose(have.astype(np.float64), want, rtol=1.5 * unit, atol=1e-3 * unit)


@of_each_type
@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
def test_a_bias_is_added_before_rounding(operator: str, dtype: np.dtype[np.generic]) -> None:
    shapes = {"Conv": [(1, 8, 6, 6), (8, 8, 3, 3), (8,)], "Gemm": [(16, 32), (32, 8), (8,)]}[operator]
    inputs = [narrow(shape, dtype) for shape in shapes]
    have, want = results(model_of(operator, inputs), inputs)
    assert have.dtype == dtype
    same = have == want.astype(dtype)
    assert same.mean() > 0.99, "but for sums that lie just between two numbers"


@of_each_type
def test_attention_rounds_where_its_definition_does(dtype: np.dtype[np.generic]) -> None:
    inputs = [(3 * narrow((1, 2, 6, 8), dtype)).astype(dtype) for _ in range(3)]
    model = model_of("Attention", inputs, softmax_precision=onnx.TensorProto.FLOAT)
    body = model.clone()
    InferShapes()(body)
    Legalize(Legality({"": 24}, {"Attention": "this test wants its body"}))(body)
    assert "Attention" not in {node.op_type for node in body.graph}
    (whole, exact), (steps, _) = results(model, inputs), results(body, inputs)
    unit = float(ml_dtypes.finfo(dtype).eps) * np.abs(exact).max()
    np.testing.assert_allclose(whole.astype(np.float64), steps.astype(np.float64), atol=unit)
    assert (whole == steps).mean() > 0.9
    assert (whole == exact.astype(dtype)).mean() < 0.9, "rounding once, at the end, would be another thing"


@of_each_type
@pytest.mark.parametrize("operator,gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_state_is_rounded_from_step_to_step(operator: str, gates: int, dtype: np.dtype[np.generic]) -> None:
    """All at once is what one step at a time is, each of which hands on what it gave."""
    x, w, r = (narrow(shape, dtype) for shape in ((7, 2, 3), (1, 4 * gates, 3), (1, 4 * gates, 4)))
    whole, _ = results(model_of(operator, [x, w, r], hidden_size=4), [x, w, r])
    node = f"y, h{', c' if operator == 'LSTM' else ''} = {operator}<hidden_size = 4>(x, w, r, , , h0"
    kind = "bfloat16" if dtype == HALVES[1] else "float16"
    head = f"({kind}[1,2,3] x, {kind}[1,{4 * gates},3] w, {kind}[1,{4 * gates},4] r, {kind}[1,2,4] h0"
    more, outs = (f", {kind}[1,2,4] c0", f", {kind}[1,2,4] c") if operator == "LSTM" else ("", "")
    text = f"{head}{more}) => ({kind}[1,1,2,4] y, {kind}[1,2,4] h{outs}) {{ {node}{', c0' if more else ''}) }}"
    step = Evaluator(
        ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 24]> g {text}')), precise=False
    )
    state = {name: np.zeros((1, 2, 4), dtype) for name in ("h0", "c0")[: 1 + bool(more)]}
    for place in range(7):
        made = step({"x": x[place : place + 1], "w": w, "r": r, **state})
        np.testing.assert_array_equal(made["y"][0], whole[place])
        state = {f"{name}0": made[name] for name in ("h", "c")[: 1 + bool(more)]}
