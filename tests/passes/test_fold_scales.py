from __future__ import annotations

import pytest
from check import apply, check_unchanged, draw, parse

from compiler.passes.agreement import Judge
from compiler.passes.fold_scales import FoldScales

MAP = "(float[n,2,5,5] x) => (float[n,4,5,5] y) <float[4,2,1,1] w = {1, -2, 3, 4, 0.5, 6, -7, 8}, "
MAP += "float[n,4,5,5] u, float[n,4,5,5] v, "
ROWS = "(float[n,3,2] x) => (float[n,3,4] y) <float[2,4] w = {1, -2, 3, 4, 0.5, 6, -7, 8}, float[n,3,4] t, "
EACH = "float[4,1,1] s = {1, 2, 3, 4}"


@pytest.mark.parametrize(
    "graph",
    [
        MAP + EACH + "> { t = Conv(x, w)  y = Mul(t, s) }",
        MAP + EACH + "> { t = Conv(x, w)  y = Div(t, s) }",
        MAP + EACH + "> { t = Conv(x, w)  y = Add(s, t) }",
        MAP + EACH + "> { t = Conv(x, w)  y = Sub(t, s) }",
        MAP + EACH + "> { t = Conv(x, w)  u = Mul(t, s)  v = Add(u, s)  y = Mul(v, s) }",
        MAP + "float s = {3}, float[4] b = {1, 2, 3, 4}> { t = Conv(x, w, b)  y = Mul(s, t) }",
        ROWS + "float[4] s = {1, 2, 3, 4}> { t = MatMul(x, w)  y = Mul(t, s) }",
        ROWS + "float[1,1,4] s = {1, 2, 3, 4}> { t = MatMul(x, w)  y = Div(t, s) }",
        "(float[n,2] x) => (float[n,4] y) <float[4,2] w = {1, -2, 3, 4, 0.5, 6, -7, 8}, float[4] s = {1, 2, 3, 4}, "
        "float[n,4] u> { t = Gemm<transB = 1>(x, w)  u = Add(t, s)  y = Mul(u, s) }",
    ],
)
def test_constants_for_each_channel_go_into_the_weights(graph: str) -> None:
    before, after = parse(graph), parse(graph)
    assert apply(FoldScales(), after)
    assert len([node for node in after.graph if node.op_type != "Identity"]) == 1
    assert not apply(FoldScales(), after)
    assert Judge(before, [draw(before)]).difference(after) is None


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        (MAP + "float[5] s = {1, 2, 3, 4, 5}> { t = Conv(x, w)  y = Mul(t, s) }", "more than one number"),
        (MAP + "float s = {0}> { t = Conv(x, w)  y = Div(t, s) }", "divides by zero"),
        (MAP + EACH + "> { t = Conv(x, w)  u = Mul(t, s)  y = Add(t, u) }", "other users"),
        (MAP + EACH + "> { t = Conv(x, w)  q = Conv(x, w)  u = Mul(t, s)  y = Add(q, u) }", "stored twice"),
    ],
)  # fmt: skip
def test_what_stays(graph: str, because: str) -> None:
    check_unchanged(FoldScales(), graph, because)


BIASED = ROWS.replace("t, ", "t, float[n,3,4] u, ") + "float[4] b = {1, 2, 3, 4}, float[4] s = {5, 6, 7, 8}"


@pytest.mark.parametrize("body", ["u = Add(t, b)  y = Mul(u, s)", "u = Add(b, t)  y = Mul(s, u)"])
def test_a_scale_goes_through_the_bias_of_a_product(body: str) -> None:
    graph = f"{BIASED}> {{ t = MatMul(x, w)  {body} }}"
    before, after = parse(graph), parse(graph)
    assert apply(FoldScales(), after)
    assert [node.op_type for node in after.graph if node.op_type != "Identity"] == ["MatMul", "Add"]
    assert not apply(FoldScales(), after)
    assert Judge(before, [draw(before)]).difference(after) is None


@pytest.mark.parametrize(
    ("body", "because"),
    [
        ("t = MatMul(x, w)  u = Add(t, b)  v = Mul(u, s)  y = Add(u, v)", "the Add before it has other users"),
        ("t = MatMul(x, w)  u = Add(t, b)  v = Mul(u, s)  y = Add(v, b)", "'b' is shared"),
        ("t = MatMul(x, w)  u = Add(t, b)  v = Mul(u, s)  y = Add(v, t)", "other users"),
        ("t = MatMul(x, w)  u = Add(t, b)  y = Mul(u, h)", "leave the range"),
    ],
)
def test_a_bias_that_stays_as_it_is(body: str, because: str) -> None:
    graph = f"{BIASED}, float[n,3,4] v, float[4] h = {{3e38, 3e38, 3e38, 3e38}}> {{ {body} }}"
    check_unchanged(FoldScales(), graph, because)


def test_a_product_has_no_place_for_a_shift() -> None:
    check_unchanged(FoldScales(), ROWS + "float[4] s = {1, 2, 3, 4}> { t = MatMul(x, w)  y = Add(t, s) }")
