"""Half precision: which nodes take it, where the casts stand, and what the graph then computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from compiler.contracts import Array
from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import NAME_SCOPES, origins
from compiler.ir.verify import signature_of, verify
from compiler.precision.half import to_half
from compiler.precision.recipe import Layer, Recipe

F16, BF16 = Recipe("float16"), Recipe("bfloat16")
HALVES = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
RNG = np.random.default_rng(0)

BLOCK = """(float[2,4] x) => (float[2,3] y, float[2,3] t) {
  h = MatMul(x, w)  t = Add(h, b)  n = LayerNormalization<axis = -1>(t, s, b)
  q = Softmax<axis = -1>(n)  r = Add(q, t)  y = Relu(r)
}"""
B = {"w": RNG.standard_normal((4, 3)), "b": np.array([0.5, -1, 2]), "s": np.array([1, 2, 0.5])}


def build(text: str, **weights: Array) -> ir.Model:
    """`text` takes its weights by name; each node remembers a module of its own."""
    names = "".join(f", float[{','.join(map(str, array.shape))}] {name}" for name, array in weights.items())
    end = text.index(")")
    header = '<ir_version: 10, opset_import: ["" : 24]> g '
    model = ir.from_proto(onnx.parser.parse_model(header + text[:end] + names + text[end:]))
    for value in list(model.graph.inputs):
        if value.name in weights:
            model.graph.inputs.remove(value)
            value.const_value = ir.tensor(np.asarray(weights[value.name], np.float32), name=value.name)
            model.graph.register_initializer(value)
    for number, node in enumerate(ir.traversal.RecursiveGraphIterator(model.graph)):
        node.name = node.outputs[0].name
        node.metadata_props[NAME_SCOPES] = repr(["", f"layers.{number}", node.op_type])
    verify(model)
    return model


def halve(model: ir.Model, recipe: Recipe, *samples: dict[str, Array]) -> dict[str, Layer]:
    """What any rewrite of a graph must keep is checked on the way."""
    signature = signature_of(model)
    layers = to_half(model, recipe, samples or None)
    verify(model)
    assert signature_of(model) == signature
    assert all(origins(node) for node in model.graph)
    assert not [pair for pair in _cast_pairs(model) if pair[0] == pair[2]], "two casts that cancel"
    return {layer.name: layer for layer in layers}


def _cast_pairs(model: ir.Model) -> list[tuple[ir.DataType | None, ...]]:
    casts = [node for node in model.graph if node.op_type == "Cast"]
    inner = [(node, node.inputs[0].producer()) for node in casts if node.inputs[0] is not None]
    return [
        (made.inputs[0].dtype, made.outputs[0].dtype, node.outputs[0].dtype)
        for node, made in inner
        if made is not None and made.op_type == "Cast" and made.inputs[0] is not None
        if made.outputs[0].dtype is ir.DataType.FLOAT
    ]


def types(model: ir.Model) -> dict[str, ir.DataType | None]:
    return {str(node.name): node.outputs[0].dtype for node in model.graph}


def casts(model: ir.Model) -> int:
    return Counter(node.op_type for node in model.graph)["Cast"]


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("recipe", [F16, BF16], ids=lambda recipe: recipe.precision)
def test_work_is_narrow_and_what_loses_too_much_is_not(recipe: Recipe) -> None:
    model, x = build(BLOCK, **B), {"x": normal(2, 4)}
    before = model.clone()
    layers = halve(model, recipe, x)
    half = HALVES[recipe.precision]
    assert {name: types(model)[name] for name in "htnqry"} == {
        "h": half, "t": half, "n": ir.DataType.FLOAT, "q": ir.DataType.FLOAT, "r": half, "y": half
    }  # fmt: skip
    assert layers["h"] == Layer("h", "MatMul", recipe.precision, 16, 12)
    assert (layers["n"].precision, layers["n"].bits) == ("float32", 32)
    assert "statistics" in layers["n"].why
    assert model.graph.initializers["w"].dtype == half
    assert model.graph.initializers["s"].dtype == ir.DataType.FLOAT
    assert casts(model) == 4, "x down; t up, for its norm and as an output; what the softmax gives down; y up"
    want, have = Evaluator(before, precise=True)(x), Evaluator(model, precise=False)(x)
    for name in want:
        assert have[name].dtype == np.float32
        np.testing.assert_allclose(
            have[name], want[name], atol=4 * EPSILON[recipe.precision] * np.abs(want[name]).max()
        )


def test_a_second_run_finds_nothing_to_do() -> None:
    model = build(BLOCK, **B)
    halve(model, BF16)
    once = types(model)
    halve(model, BF16)
    assert types(model) == once


def test_shared_weights_stay_shared() -> None:
    body = "(float[2,4] x) => (float[2,4] y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, w) }"
    model = build(body, w=normal(4, 4))
    halve(model, BF16)
    assert [value.dtype for value in model.graph.initializers.values()] == [ir.DataType.BFLOAT16]


def test_a_weight_that_is_wanted_in_float32_as_well_is_not_rounded_there() -> None:
    body = "(float[2,4] x) => (float[2,4] y, float[4,4] z) { y = MatMul(x, w)  z = Exp(w) }"
    model = build(body, w=normal(4, 4))
    want = np.exp(np.asarray(model.graph.initializers["w"].const_value))
    halve(model, BF16)
    np.testing.assert_allclose(Evaluator(model, precise=False)({"x": normal(2, 4)})["z"], want, rtol=1e-6)


def test_an_embedding_is_stored_narrow() -> None:
    model = build("(int64[3] i) => (float[3,4] y) { y = Gather(w, i) }", w=normal(9, 4))
    assert halve(model, F16)["y"].weights == 36
    assert model.graph.initializers["w"].dtype is ir.DataType.FLOAT16


def test_what_stands_between_float32_alone_stays_there() -> None:
    model = build("(float[2,4] x) => (float[2,4] y) { a = Mul(x, x)  b = Exp(a)  y = Add(b, a) }")
    halve(model, F16)
    assert casts(model) == 0


def test_other_types_stay_as_they_are() -> None:
    text = """(double[2,4] x, float16[2,4] h, int64[2,4] i) => (double[2,4] y, float16[2,4] z, int64[2,4] j) {
      y = Add(x, x)  z = Mul(h, h)  j = Sub(i, i)
    }"""
    model = build(text)
    assert halve(model, BF16) == {}
    assert casts(model) == 0


# -- what the user and the target want ----------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["h", "layers.0", "*.0"])
def test_what_was_asked_to_stay_stays(pattern: str) -> None:
    model = build(BLOCK, **B)
    layer = halve(model, replace(BF16, keep=(pattern,)))["h"]
    assert layer == Layer("h", "MatMul", "float32", 32, 12, "it was asked to stay")
    assert model.graph.initializers["w"].dtype is ir.DataType.FLOAT


def test_what_a_target_cannot_compute_stays() -> None:
    model = build("(float[1,2,4,4] x) => (float[1,3,6,6] y) { y = ConvTranspose(x, w) }", w=normal(2, 3, 3, 3))
    assert halve(model, replace(BF16, wide={"ConvTranspose": "it says no"}))["y"].why == "it says no"


def test_what_the_standard_does_not_have_stays() -> None:
    text = '(float[2,4] x) => (float[2,3] y) { y = Einsum<equation = "ij,jk->ik">(x, w) }'
    assert halve(build(text, w=normal(4, 3)), BF16)["y"].why == "ONNX has no Einsum in bfloat16"
    assert halve(build(text, w=normal(4, 3)), F16)["y"].precision == "float16"


# -- ranges -------------------------------------------------------------------------------------------------------

CHAIN = "(float[2,4] x) => (float[2,4] y) { a = MatMul(x, w)  b = MatMul(a, v)  y = Tanh(b) }"


@pytest.mark.parametrize("size,stays", [(1e5, True), (2e4, True), (5e3, False)])
def test_float16_is_kept_away_from_its_end(size: float, stays: bool) -> None:
    """Real data may be larger than samples, so that the end is a quarter of 65504."""
    eye = np.eye(4)
    model = build(CHAIN, w=eye * 100, v=eye / size)
    layers = halve(model, F16, {"x": np.full((2, 4), 0.01 * size, np.float32)})
    reached = {name: layer.why for name, layer in layers.items() if "reaches" in layer.why}
    assert set(reached) == ({"a", "b"} if stays else set())
    if stays:
        assert reached["a"] == f"'a' reaches {size:.3g}"
        assert reached["b"] == f"'a', which it takes, reaches {size:.3g}"


def test_bfloat16_holds_what_float16_does_not() -> None:
    model = build(CHAIN, w=np.eye(4) * 100, v=np.eye(4))
    layers = halve(model, BF16, {"x": np.full((2, 4), 1e6, np.float32)})
    assert {layer.precision for layer in layers.values()} == {"bfloat16"}


def test_numbers_that_float16_would_lose_stay() -> None:
    model = build(CHAIN, w=np.eye(4) * 1e-3, v=np.eye(4))
    layers = halve(model, F16, {"x": np.full((2, 4), 1e-4, np.float32)})
    assert "'a' is too small for 16 bits" in layers["a"].why


@pytest.mark.parametrize("constant,why", [(1e-12, "is too small"), (7e4, "reaches 7e+04")])
def test_a_constant_tells_without_samples(constant: float, why: str) -> None:
    text = "(float[2,4] x) => (float[2,4] y) { a = MatMul(x, w)  y = Add(a, c) }"
    layers = halve(build(text, w=normal(4, 4), c=np.array(constant)), F16)
    assert why in layers["y"].why
    assert layers["a"].precision == "float16"


def test_what_is_large_stays_so_through_what_carries_it() -> None:
    """(1 - mask) * lowest: on samples without padding nothing shows."""
    text = """(float[2,4] x, float[2,4] m) => (float[2,4] y) {
      a = MatMul(x, w)  i = Sub(one, m)  k = Mul(i, low)  l = Neg(k)  s = Add(a, l)  y = Softmax<axis = -1>(s)
    }"""
    model = build(text, w=normal(4, 4), one=np.array(1.0), low=np.array(-3.4e38))
    layers = halve(model, BF16, {"x": normal(2, 4), "m": np.ones((2, 4), np.float32)})
    assert "reaches 3.4e+38" in layers["s"].why
    assert types(model)["s"] is ir.DataType.FLOAT


# -- attention ----------------------------------------------------------------------------------------------------

ATTENTION = """(float[1,2,4,8] q, float[1,2,4,8] k, float[1,2,4,8] v, bool[4,4] m) => (float[1,2,4,8] y) {
  a = Where(m, zero, low)  y = Attention(q, k, v, a)
}"""
MASK = {"zero": np.array(0.0), "low": np.array(np.finfo(np.float32).min)}


@pytest.mark.parametrize("recipe", [F16, BF16], ids=lambda recipe: recipe.precision)
def test_attention_is_narrow_and_its_softmax_is_not(recipe: Recipe) -> None:
    model = build(ATTENTION, **MASK)
    before = model.clone()
    given = {name: normal(1, 2, 4, 8) for name in "qkv"} | {"m": np.tril(np.ones((4, 4), bool))}
    given["m"][2] = False  # a row that looks nowhere looks everywhere alike, as in float32
    assert halve(model, recipe, given)["y"].precision == recipe.precision
    (node,) = (node for node in model.graph if node.op_type == "Attention")
    assert node.attributes["softmax_precision"].as_int() == ir.DataType.FLOAT
    want, have = Evaluator(before, precise=True)(given)["y"], Evaluator(model, precise=False)(given)["y"]
    np.testing.assert_allclose(have, want, atol=4 * EPSILON[recipe.precision] * np.abs(want).max())
    np.testing.assert_allclose(want[:, :, 2], given["v"].mean(axis=2), rtol=1e-5)


def test_scores_that_float16_cannot_hold() -> None:
    given = {name: normal(1, 2, 4, 8) * 500 for name in "qkv"} | {"m": np.ones((4, 4), bool)}
    assert "has scores that may reach" in halve(build(ATTENTION, **MASK), F16, given)["y"].why
    assert halve(build(ATTENTION, **MASK), BF16, given)["y"].why == ""


# -- where an absolute error counts, and what is left alone -------------------------------------------------------


@pytest.mark.parametrize(
    "end,why",
    [
        ("c = Sin(b)  y = Exp(c)", "becomes an angle"),
        ("c = Cast<to = 7>(b)  y = Cast<to = 1>(c)", "becomes a whole number"),
        ("s = Softmax(b)  c = ArgMax<keepdims = 1>(s)  d = Cast<to = 1>(c)  y = Mul(d, s)", "decides"),
    ],
)
def test_angles_indices_and_choices_are_computed_in_float32(end: str, why: str) -> None:
    model = build(f"(float[2,4] x) => (float[2,4] y) {{ a = MatMul(x, w)  b = Relu(a)  {end} }}", w=normal(4, 4))
    assert halve(model, BF16)["a"].why == f"its result {why}"


BRANCH = """(float[2,4] x, bool c) => (float[2,4] y) {
  a = MatMul(x, w)
  y = If (c) <
    then_branch = one () => (float[2,4] p) { p = Mul(a, a) },
    else_branch = two () => (float[2,4] n) { n = MatMul(a, w) }
  >
}"""


def test_what_is_inside_of_a_branch_is_left_alone() -> None:
    model = build(BRANCH, w=normal(4, 4))
    before = model.clone()
    layers = halve(model, BF16)
    assert layers["a"].precision == "bfloat16"
    assert "left alone as a whole" in layers["y"].why
    inner = [value for graph in list(model.graphs())[1:] for node in graph for value in (*node.inputs, *node.outputs)]
    assert {value.dtype for value in inner if value is not None} == {ir.DataType.FLOAT}
    for chosen in (True, False):
        given = {"x": normal(2, 4), "c": np.array(chosen)}
        want, have = Evaluator(before, precise=True)(given)["y"], Evaluator(model, precise=False)(given)["y"]
        np.testing.assert_allclose(have, want, atol=0.03 * np.abs(want).max())


def test_places_keep_their_precision() -> None:
    text = "(float[1,1,4,4] x) => (float[1,1,8,8] y) { a = Conv(x, w)  y = Resize(a, , scales) }"
    model = build(text, w=normal(1, 1, 1, 1), scales=np.array([1.0, 1, 2, 2]))
    halve(model, BF16)
    assert types(model)["y"] is ir.DataType.BFLOAT16
    assert model.graph.initializers["scales"].dtype is ir.DataType.FLOAT
