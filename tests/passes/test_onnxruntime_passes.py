"""ONNX Runtime's own passes: the numbers stay, and the runtime takes what it did not take before."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from check import apply, check_unchanged, draw, parse, same_numbers

import backends
from backends.onnxruntime.passes.empty_reductions import EmptyReductions
from backends.onnxruntime.passes.fit_kernels import FitKernels
from backends.onnxruntime.passes.older_roi_align import OlderRoiAlign
from backends.onnxruntime.passes.precise_transforms import PreciseTransforms
from backends.onnxruntime.passes.split_attention import SplitAttention
from compiler.contracts import Arrays
from compiler.errors import CompileError
from compiler.ir.evaluate import Evaluator
from compiler.passes.float_modulo import FloatModulo
from compiler.passes.sequence_major import SequenceMajor

LEGALITY = backends.get("onnxruntime").legality


def header(opset: int) -> str:
    return f'<ir_version: 10, opset_import: ["" : {opset}]> g '


def run(model: ir.Model, inputs: Arrays) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    made = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip([output.name for output in made.get_outputs()], made.run(None, dict(inputs)), strict=True))


def refused_by_the_runtime(model: ir.Model) -> str:
    inputs = draw(model)
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED|FAIL") as caught:
        run(model, inputs)
    return str(caught.value)


def taken_afterwards(instance: ir.passes.PassBase, text: str, inputs: Arrays | None = None) -> ir.Model:
    """The runtime refuses the graph; after the pass it takes it, and computes what the evaluator does."""
    model, before = parse(text), parse(text)
    refused_by_the_runtime(before)
    assert apply(instance, model)
    assert not apply(instance, model)
    given = draw(before) if inputs is None else inputs
    same_numbers(before, model, given)
    for name, want in Evaluator(before, precise=False)(given).items():
        np.testing.assert_allclose(run(model, given)[name], want, rtol=1e-5)
    return model


@pytest.mark.parametrize(
    "graph",
    [
        "(int16[4] a, int16[4] b) => (int16[4] y) { y = Max(a, b) }",
        "(uint16[4] a, uint16[4] b) => (uint16[4] y) { y = Min(a, b) }",
        "(bool[4] c, bool[4] a, bool[4] b) => (bool[4] y) { y = Where(c, a, b) }",
        "(uint64[4] x) => (uint64[4] y) <int64 axis = {0}> { y = CumSum(x, axis) }",
        "(float[4] x, uint32[4] e) => (float[4] y) { y = Pow(x, e) }",
        "(uint16[2,4] x) => (uint16[2,2] y, int64[2,2] i) <int64[1] k = {2}> { y, i = TopK(x, k) }",
        "(int16[4] x) => (int64[1,n] y) { y = NonZero(x) }",
    ],
)
def test_a_type_without_a_kernel_is_widened(graph: str) -> None:
    taken_afterwards(FitKernels(LEGALITY), graph)


def test_widening_wraps_around_as_the_narrow_type_does() -> None:
    graph = '(uint16[2] x, uint16[2] n) => (uint16[2] y) { y = BitShift<direction = "LEFT">(x, n) }'
    taken_afterwards(FitKernels(LEGALITY), graph, {"x": np.array([2**16 - 1, 3], "u2"), "n": np.array([4, 15], "u2")})
    graph = "(uint64[2] x) => (uint64[1] y) { y = ReduceSum(x) }"
    taken_afterwards(FitKernels(LEGALITY), graph, {"x": np.array([2**64 - 1, 2**63 + 5], "u8")})


def test_inside_of_a_branch_and_for_an_output_that_others_use() -> None:
    model = taken_afterwards(
        FitKernels(LEGALITY),
        """(bool f, int16[2] a, int16[2] b) => (int16[2] y, int16[2] z) {
            m = Max(a, b)  z = Neg(m)
            y = If(f) <then_branch = t () => (int16[2] p) { p = Min(m, b) },
                       else_branch = e () => (int16[2] q) { q = Neg(m) }>
        }""",
    )
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


@pytest.mark.parametrize(
    "graph",
    [
        "(int32[4] a, int32[4] b) => (int32[4] y) { y = Max(a, b) }",
        "(float16[4] x) => (float16[4] y) { y = Erf(x) }",  # the runtime casts by itself
        "(float[2,3] x) => (float[2,3] y) { c = Constant<value = float {2}>()  y = Mul(x, c) }",
    ],
)
def test_what_the_runtime_takes_stays(graph: str) -> None:
    model = parse(f"{header(24)}{graph}")
    run(model, draw(model))
    check_unchanged(FitKernels(LEGALITY), f"{header(24)}{graph}")


@pytest.mark.parametrize("operator", ["Mish", "Softplus", "Elu", "Selu"])
def test_a_body_takes_the_place_of_what_has_no_kernel(operator: str) -> None:
    taken_afterwards(FitKernels(LEGALITY), f"{header(24)}(double[4] x) => (double[4] y) {{ y = {operator}(x) }}")


@pytest.mark.parametrize(
    ("graph", "named"),
    [
        ("(double[4] x) => (double[4] y) { y = Erf(x) }", "Erf: ONNX Runtime has no kernel of it for tensor(double)"),
        ("(uint64[3] x) => (uint64[1] y, int64[1] i) <int64[1] k = {1}> { y, i = TopK(x, k) }", "tensor(uint64)"),
    ],
)
def test_what_cannot_be_widened_is_refused_by_name(graph: str, named: str) -> None:
    model = parse(graph)
    refused_by_the_runtime(model)
    with pytest.raises(CompileError) as caught:
        FitKernels(LEGALITY)(model)
    assert caught.value.code == "unsupported-op"
    assert named in str(caught.value.why)
    assert caught.value.where is not None


X = np.array([7.5, -7.5, 7.5, -7.5, 0.0, np.inf, 3.0, -3.0, np.nan, 6.0], np.float32)
Y = np.array([2.0, 2.0, -2.0, -2.0, -3.0, 2.0, np.inf, np.inf, 1.0, -3.0], np.float32)


def test_modulo_of_floats_has_the_sign_of_the_divisor() -> None:
    graph = "(float[10] a, float[10] b) => (float[10] y) { y = Mod(a, b) }"
    model = parse(graph)
    assert apply(FloatModulo(), model)
    assert not apply(FloatModulo(), model)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(run(model, {"a": X, "b": Y})["y"], np.mod(X, Y))
    check_unchanged(FloatModulo(), "(float[2] a, float[2] b) => (float[2] y) { y = Mod<fmod = 1>(a, b) }")
    check_unchanged(FloatModulo(), "(int32[2] a, int32[2] b) => (int32[2] y) { y = Mod(a, b) }")


@pytest.mark.parametrize(
    "graph",
    [
        "(float[2,100,1] x) => (float[2,100,2] y) <int64 axis = {1}> { y = DFT(x, , axis) }",
        "(float[1,200,1] x, float[50] w) => (float[1,4,26,2] y) <int64 s = {50}> { y = STFT(x, s, w) }",
    ],
)
def test_transforms_are_as_precise_as_their_type(graph: str) -> None:
    model, before = parse(graph), parse(graph)
    inputs = draw(model)
    assert apply(PreciseTransforms(), model)
    assert not apply(PreciseTransforms(), model)
    exact = {name: value.astype(np.float64) for name, value in inputs.items()}
    want = run(parse(graph.replace("float", "double")), exact)["y"]
    plain, precise = (np.abs(run(each, inputs)["y"] - want).max() for each in (before, model))
    assert precise <= 1e-6 * np.abs(want).max() < plain


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_a_recurrence_with_the_batch_first(operator: str) -> None:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[operator]
    cell, states = (", float[n,1,5] c", "y, h, d") if operator == "LSTM" else ("", "y, h")
    out = ", float[n,1,5] d" if cell else ""
    weights = ", ".join(
        f"float[1,{5 * gates},{size}] {name} = {{{_numbers(5 * gates * size)}}}" for name, size in SIZES
    )
    graph = (
        f"(float[n,4,3] x, float[n,1,5] i{cell}) => (float[n,4,1,5] y, float[n,1,5] h{out}) <{weights}> "
        f"{{ {states} = {operator}<hidden_size = 5, layout = 1>(x, w, r, , , i{', c' if cell else ''}) }}"
    )
    taken_afterwards(SequenceMajor(), graph)


SIZES = (("w", 3), ("r", 5))


def _numbers(count: int) -> str:
    return ", ".join(map(str, np.random.default_rng(0).standard_normal(count).round(3)))


def test_roi_align_of_the_newest_opset() -> None:
    text = header(24) + (
        "(float[1,1,8,8] x, float[2,4] b) => (float[2,1,2,2] y) <int64[2] i = {0, 0}> "
        "{ y = RoiAlign<output_height = 2, output_width = 2>(x, b, i) }"
    )
    boxes = np.array([[0, 0, 4, 4], [1, 2, 6, 7]], np.float32)
    taken_afterwards(OlderRoiAlign(LEGALITY), text, {"x": np.arange(64, dtype="f").reshape(1, 1, 8, 8), "b": boxes})
    check_unchanged(OlderRoiAlign(LEGALITY), f"{header(24)}(float[2] x) => (float[2] y) {{ y = Relu(x) }}")


MASKED = "(float[1,2,4,8] q, float[1,2,6,8] k, float[1,2,6,8] v, float[4,6] m"


def test_the_scores_of_a_masked_attention() -> None:
    graph = f"{MASKED}) => (float[1,2,4,8] y, float[1,2,4,6] s) "
    graph += "{ y, , , s = Attention<is_causal = 1, qk_matmul_output_mode = 2>(q, k, v, m) }"
    model = parse(header(24) + graph)
    inputs = draw(model)
    assert np.isfinite(run(model, inputs)["s"]).all()  # the fault
    assert apply(SplitAttention(LEGALITY), model)
    assert np.isneginf(run(model, inputs)["s"]).any()


def test_an_attention_that_the_kernel_computes_right_stays() -> None:
    graph = f"{MASKED}) => (float[1,2,4,8] y) {{ y = Attention(q, k, v, m) }}"
    check_unchanged(SplitAttention(LEGALITY), header(24) + graph)


NOTHING = "(float[2,0] x) => (float[2] y) <int64[1] a = {-1}> { y = OPERATOR<keepdims = 0>(x, a) }"


@pytest.mark.parametrize(
    ("operator", "neutral"),
    [("ReduceSum", 0), ("ReduceProd", 1), ("ReduceL2", 0), ("ReduceLogSum", -np.inf), ("ReduceMean", np.nan)],
)
def test_a_reduction_of_nothing_has_the_right_shape(operator: str, neutral: float) -> None:
    model = parse(header(24) + NOTHING.replace("OPERATOR", operator))
    assert apply(EmptyReductions(), model)
    np.testing.assert_array_equal(run(model, {"x": np.zeros((2, 0), np.float32)})["y"], [neutral] * 2)


def test_a_reduction_of_something_stays() -> None:
    graph = "(float[2,3] x) => (float[2] y) <int64[1] a = {-1}> { y = ReduceSum<keepdims = 0>(x, a) }"
    check_unchanged(EmptyReductions(), header(24) + graph)
