"""The analysis of ranges: what an operator computes lies within what was said, and what was said is not far off."""

from __future__ import annotations

import math

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from compiler.contracts import Dim
from compiler.frontend.examples import numpy_dtype
from compiler.ir.evaluate import Evaluator
from compiler.ir.ranges import Range, Ranges
from compiler.ir.verify import signature_of
from compiler.passes.infer_shapes import InferShapes

HEADER = '<ir_version: 11, opset_import: ["" : 23]> g '
N = Dim("n", 2, 5)
DRAWS = 30
SEED = 0

# Inputs hold -9..12, floats what `f` says.
X = "(int64[n,4] x, int64[n,4] z, float[n,4] f)"
WHOLE = f"{X} => (int64[a,b] o) "
FLOAT = f"{X} => (float[a,b] o) "
CONSTANTS = """<int64 zero = {0}, int64[1] one = {1}, int64 two = {2}, int64 five = {5}, int64 no = {-7},
    int64[1] k = {2}, int64[2] both = {0, 1}, int64[4] pads = {1, 0, 1, 0}, float half = {0.5}, float e = {3.7}> """

SOUND = {
    "add": WHOLE + "{ o = Add(x, z) }",
    "sub": WHOLE + "{ o = Sub(x, z) }",
    "mul": WHOLE + "{ o = Mul(x, z) }",
    "square": WHOLE + "{ o = Mul(x, x) }",
    "div by a constant": WHOLE + "{ o = Div(x, five) }",
    "div by a negative constant": WHOLE + "{ o = Div(x, no) }",
    "div": WHOLE + "{ b = Abs(z) s = Add(b, one) t = Mul(s, no) o = Div(x, t) }",
    "mod": WHOLE + "{ o = Mod(x, five) }",
    "mod of a negative": WHOLE + "{ o = Mod(x, no) }",
    "fmod": WHOLE + "{ o = Mod<fmod = 1>(x, five) }",
    "neg": WHOLE + "{ o = Neg(x) }",
    "abs": WHOLE + "{ o = Abs(x) }",
    "sign": WHOLE + "{ o = Sign(x) }",
    "pow": WHOLE + "{ o = Pow(x, two) }",
    "pow of odd": WHOLE + "{ t = Add(two, one) o = Pow(x, t) }",
    "max": WHOLE + "{ o = Max(x, z, two) }",
    "min": WHOLE + "{ o = Min(x, z, two) }",
    "clip": WHOLE + "{ o = Clip(x, no, five) }",
    "clip below": WHOLE + "{ o = Clip(x, , five) }",
    "where": WHOLE + "{ c = Less(x, z) o = Where(c, x, five) }",
    "shift left": WHOLE + "{ u = Cast<to = 13>(five) v = Cast<to = 13>(two) w = BitShift<direction = \"LEFT\">(u, v) "
    "y = Cast<to = 7>(w) o = Add(x, y) }",
    "and": WHOLE + "{ a = Abs(x) o = BitwiseAnd(a, five) }",
    "or": WHOLE + "{ a = Abs(x) o = BitwiseOr(a, five) }",
    "xor": WHOLE + "{ o = BitwiseXor(x, z) }",
    "not": WHOLE + "{ o = BitwiseNot(x) }",
    "reduce sum": WHOLE + "{ o = ReduceSum<keepdims = 1>(x, one) }",
    "reduce sum over all": WHOLE + "{ o = ReduceSum(x) }",
    "reduce l1": WHOLE + "{ o = ReduceL1(x, one) }",
    "reduce sum square": WHOLE + "{ o = ReduceSumSquare(x, one) }",
    "reduce prod": WHOLE + "{ o = ReduceProd(x, one) }",
    "reduce mean": WHOLE + "{ o = ReduceMean(x, one) }",
    "reduce max": WHOLE + "{ o = ReduceMax(x, one) }",
    "cumsum": WHOLE + "{ o = CumSum(x, zero) }",
    "exclusive cumsum": WHOLE + "{ o = CumSum<exclusive = 1>(x, one) }",
    "matmul": WHOLE + "{ t = Transpose(z) o = MatMul(x, t) }",
    "argmax": WHOLE + "{ o = ArgMax<axis = 1>(f) }",
    "topk": WHOLE + "{ v, o = TopK(f, k) }",
    "nonzero": WHOLE + "{ o = NonZero(x) }",
    "shape": WHOLE + "{ s = Shape(x) n = Gather(s, zero) o = Add(x, n) }",
    "size": WHOLE + "{ s = Size(x) o = Add(x, s) }",
    "range": WHOLE + "{ s = Shape(x) n = Gather(s, zero) r = Range(zero, n, two) o = Unsqueeze(r, one) }",
    "range downwards": WHOLE + "{ r = Range(five, no, no) o = Unsqueeze(r, one) }",
    "gather": WHOLE + "{ o = Gather(x, both) }",
    "gather elements": WHOLE + "{ i = Mod(z, two) o = GatherElements(x, i) }",
    "scatter": WHOLE + "{ i = Mod(z, two) o = ScatterElements(x, i, z) }",
    "scatter add": WHOLE + "{ i = Mod(z, two) o = ScatterElements<reduction = \"add\">(x, i, z) }",
    "pad": WHOLE + "{ o = Pad(x, pads, five) }",
    "trilu": WHOLE + "{ t = Max(x, five) o = Trilu(t) }",
    "one hot": WHOLE + "{ i = Mod(z, two) j = ReduceMax<keepdims = 0>(i, one) "
    "v = Mul(both, five) o = OneHot(j, two, v) }",
    "concat": WHOLE + "{ o = Concat<axis = 0>(x, z) }",
    "cast of a float": WHOLE + "{ t = Mul(f, e) o = Cast<to = 7>(t) }",
    "buckets": WHOLE + "{ a = Abs(x) c = Cast<to = 1>(a) d = Div(c, e) l = Log(d) m = Mul(l, e) q = Cast<to = 7>(m) "
    "p = Max(q, no) o = Min(p, five) }",
    "cast of a bool": WHOLE + "{ t = Greater(x, z) o = Cast<to = 7>(t) }",
    "if": WHOLE + "{ s = ReduceSum<keepdims = 0>(x) c = Greater(s, zero) "
    "o = If(c) <then_branch = a () => (int64[n,4] p) { p = Neg(x) }, "
    "else_branch = b () => (int64[n,4] q) { q = Mul(z, five) }> }",
    "loop": WHOLE + "{ o = Loop(five, , x) <body = b (int64 i, bool c, int64[n,4] s) => (bool d, int64[n,4] t) "
    "{ d = Identity(c) w = Add(s, i) t = Clip(w, no, five) }> }",
    "float add": FLOAT + "{ o = Add(f, e) }",
    "float div": FLOAT + "{ o = Div(f, e) }",
    "reciprocal": FLOAT + "{ a = Abs(f) b = Add(a, half) o = Reciprocal(b) }",
    "exp": FLOAT + "{ o = Exp(f) }",
    "sqrt": FLOAT + "{ a = Abs(f) o = Sqrt(a) }",
    "floor": FLOAT + "{ o = Floor(f) }",
    "ceil": FLOAT + "{ o = Ceil(f) }",
    "round": FLOAT + "{ o = Round(f) }",
    "relu": FLOAT + "{ o = Relu(f) }",
    "sigmoid": FLOAT + "{ o = Sigmoid(f) }",
    "tanh": FLOAT + "{ o = Tanh(f) }",
    "softmax": FLOAT + "{ o = Softmax(f) }",
}  # fmt: skip


def parsed(text: str) -> ir.Model:
    head, brace, body = text.partition("{")
    model = ir.from_proto(onnx.parser.parse_model(HEADER + head + CONSTANTS + brace + body))
    InferShapes()(model)
    return model


def bounds() -> dict[str, Range]:
    return {"x": Range.of(-9, 12), "z": Range.of(-9, 12), "f": Range.of(-2.5, 4)}


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_results_lie_within_their_range(text: str) -> None:
    model = parsed(text)
    found = Ranges(model, {"n": N}, bounds()).of(model.graph.outputs[0])
    assert math.isfinite(found.least)
    assert found.most - found.least < 1e7, "that says nothing"
    evaluator, rng = Evaluator(model, precise=False), np.random.default_rng(SEED)
    for draw in range(DRAWS):
        size = (N.lo, N.hi)[draw % 2]
        whole = [rng.integers(-9, 13, (size, 4)) if draw > 1 else np.full((size, 4), (-9, 12)[draw]) for _ in "xz"]
        inputs = {"x": whole[0], "z": whole[1], "f": rng.uniform(-2.5, 4, (size, 4)).astype(np.float32)}
        output = evaluator({spec.name: inputs[spec.name] for spec in signature_of(model).inputs})["o"]
        assert output.dtype == numpy_dtype(signature_of(model).outputs[0].dtype)
        slack = 0 if output.dtype.kind == "i" else 1e-5
        assert found.least - slack <= output.min(), output
        assert output.max() <= found.most + slack, output


def range_of(text: str, dims: dict[str, Dim] | None = None, **inputs: Range) -> Range:
    model = parsed(text)
    return Ranges(model, dims or {"n": N}, {**bounds(), **inputs}).of(model.graph.outputs[0])


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (WHOLE + "{ o = Add(x, five) }", -4, 17),
        (WHOLE + "{ o = Mul(x, x) }", 0, 144),
        (WHOLE + "{ o = Mul(x, no) }", -84, 63),
        (WHOLE + "{ o = Div(x, five) }", -1, 2),
        (WHOLE + "{ o = ReduceSum(x, one) }", -36, 48),
        (WHOLE + "{ o = CumSum(x, zero) }", -45, 60),
        (WHOLE + "{ s = Shape(x) r = ReduceProd(s) t = Unsqueeze(r, one) o = Identity(t) }", 8, 20),
        (WHOLE + "{ s = Shape(x) h = Slice(s, one, k) o = Unsqueeze(h, one) }", 4, 4),
        (WHOLE + "{ o = NonZero(x) }", 0, 4),
        (WHOLE + "{ b = Greater(x, z) o = Cast<to = 7>(b) }", 0, 1),
    ],
)
def test_ranges_are_narrow(text: str, least: int, most: int) -> None:
    found = range_of(text)
    assert (found.least, found.most) == (least, most)


def test_a_sum_that_leaves_its_type_is_seen_and_then_may_be_anything() -> None:
    model = parsed(WHOLE + "{ t = Add(x, z) o = Neg(t) }")
    half = Range.of(0, 2.0**62 + 2.0**20)
    ranges = Ranges(model, {"n": N}, {"x": half, "z": half})
    (total,) = model.graph[0].outputs
    assert ranges.of(total).most == 2.0**63 + 2.0**21
    assert ranges.held(total).least == -(2.0**63)
    assert ranges.of(model.graph.outputs[0]).most == 2.0**63


def test_of_an_unknown_operator_nothing_is_known() -> None:
    text = (
        f"{X} => (int64[a] o) " + "{ q = SequenceConstruct(x, z) t = ConcatFromSequence<axis = 0>(q) o = Identity(t) }"
    )
    assert range_of(text).most >= 2.0**62


def test_a_loop_that_goes_on_growing_may_reach_anything() -> None:
    body = "<body = b (int64 i, bool c, int64[n,4] s) => (bool d, int64[n,4] t) { d = Identity(c) t = Add(s, s) }>"
    assert range_of(WHOLE + "{ o = Loop(five, , x) " + body + " }").most >= 2.0**63 - 1


def test_buckets_of_positions_are_bounded_through_a_logarithm() -> None:
    """As T5 has them; at position 0 the logarithm is infinite, and the result is thrown away."""
    text = SOUND["buckets"].replace("o = Min(p, five)", "o = Identity(q)")
    assert range_of(text).within(-400, 40)


def test_a_size_is_known_by_the_expression_that_it_has_elsewhere() -> None:
    """Shape inference has nothing to say about `t`; but its name says that it is made of the same size as `s`."""
    model = parsed("(float[m] x) => (int64[a] o) { s = Identity(x) t = Relu(x) o = Shape(t) }")
    source, hidden = model.graph[0].outputs[0], model.graph[1].outputs[0]
    source.shape, hidden.shape = ir.Shape(["2*s - 1"]), ir.Shape(["s + 3"])
    model.graph[1].domain, model.opset_imports["unknown"] = "unknown", 1
    ranges = Ranges(model, {"m": Dim("m", 5, 9)})
    assert ranges.extent(hidden, 0) == (6, 8)
    assert (ranges.of(model.graph.outputs[0]).least, ranges.of(model.graph.outputs[0]).most) == (6, 8)


def test_what_is_assumed_of_a_value_holds_for_what_follows() -> None:
    model = parsed(WHOLE + "{ t = Cast<to = 7>(f) o = Add(t, five) }")
    inputs = {"f": Range.of(-1e30, 1e30)}
    (cast,) = model.graph[0].outputs
    assert Ranges(model, {"n": N}, inputs).of(model.graph.outputs[0]).most >= 2.0**63
    assumed = Ranges(model, {"n": N}, inputs, {cast: Range.of(-10, 10)})
    assert assumed.of(model.graph.outputs[0]).most == 15


def test_large_float_weights_are_not_read() -> None:
    model = parsed("(float[n,4] x) => (float[n,4] o) { o = Identity(x) }")
    weight = ir.Value(name="w", const_value=ir.LazyTensor(unreadable, ir.DataType.FLOAT, ir.Shape([1000])))
    weight.dtype = ir.DataType.FLOAT
    model.graph.register_initializer(weight)
    assert Ranges(model, {"n": N}).of(weight).most > 1e38


def unreadable() -> ir.TensorProtocol:
    raise AssertionError("the weight was read")
