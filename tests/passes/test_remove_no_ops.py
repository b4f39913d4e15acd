from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.remove_no_ops import RemoveNoOps

X = "(float[n,3] x) => (float[n,3] y) "
NOTHING = X + "{ t = Relu(x)  y = Neg(t) }"


@pytest.mark.parametrize(
    "graph",
    [
        "<float[n,3] t> { t = Relu(x)  u = Cast<to = 1>(t)  y = Neg(u) }",
        "{ t = Relu(x)  u = Transpose<perm = [0, 1]>(t)  y = Neg(u) }",
        "<int64[2] s = {0, 3}, float[n,3] t> { t = Relu(x)  u = Reshape(t, s)  y = Neg(u) }",
        "<int64[2] s = {-1, 3}, float[n,3] t> { t = Relu(x)  u = Reshape(t, s)  y = Neg(u) }",
        "<int64[2] s = {1, 1}, float[n,3] t> { t = Relu(x)  u = Expand(t, s)  y = Neg(u) }",
        "<int64[1] a = {0}, int64[1] e = {9223372036854775807}> { t = Relu(x)  u = Slice(t, a, e)  y = Neg(u) }",
        "{ t = Relu(x)  u = Concat<axis = 0>(t)  y = Neg(u) }",
        "<int64[4] p = {0, 0, 0, 0}> { t = Relu(x)  u = Pad(t, p)  y = Neg(u) }",
        "{ t = Relu(x)  u = Dropout(t)  y = Neg(u) }",
        "{ t = Relu(x)  u = Clip(t)  y = Neg(u) }",
        "<int64[2] r = {1, 1}> { t = Relu(x)  u = Tile(t, r)  y = Neg(u) }",
        "<float[n,3] t> { t = Relu(x)  u = Flatten(t)  y = Neg(u) }",
        "<float o = {1}, float[n,3] t> { t = Relu(x)  u = Mul(o, t)  y = Neg(u) }",
        "<float[3] o = {1, 1, 1}, float[n,3] t> { t = Relu(x)  u = Div(t, o)  y = Neg(u) }",
        "<float z = {0}, float[n,3] t> { t = Relu(x)  u = Sub(t, z)  y = Neg(u) }",
        "<float z = {-0.0}, float[n,3] t> { t = Relu(x)  u = Add(t, z)  y = Neg(u) }",
        "<float o = {1}, float[n,3] t> { t = Relu(x)  u = Pow(t, o)  y = Neg(u) }",
        "{ t = Relu(x)  u = Relu(t)  y = Neg(u) }",
        "{ t = Relu(x)  u = Neg(t)  v = Neg(u)  y = Neg(v) }",
        "<bool c = {1}, float[n,3] t, float[n,3] u> { t = Relu(x)  u = Where(c, t, x)  y = Neg(u) }",
    ],
)
def test_what_hands_its_input_on_goes(graph: str) -> None:
    check_pass(RemoveNoOps(), X + graph, NOTHING)


@pytest.mark.parametrize(
    "graph",
    [
        "<float z = {0}, float[n,3] t> { t = Relu(x)  u = Add(t, z)  y = Neg(u) }",  # -0.0 + 0.0 = 0.0
        "<float[1,3] o = {1, 1, 1}> { t = ReduceSum<keepdims = 0>(x)  y = Mul(t, o) }",  # it makes the shape
        "{ t = Relu(x)  y = Transpose<perm = [1, 0]>(t) }",
        "<int64[1] a = {-1}, int64[1] e = {-9223372036854775807}, int64[1] i = {0}, int64[1] s = {-1}>"
        " { t = Slice(x, a, e, i, s)  y = Neg(t) }",  # the other way round
        "<float[n,3] t> { t = Relu(x)  u = Cast<to = 11>(t)  y = Cast<to = 1>(u) }",
        "{ t, m = Dropout(x)  f = Cast<to = 1>(m)  y = Mul(t, f) }",  # somebody wants the mask
    ],
)
def test_what_does_something_stays(graph: str) -> None:
    check_unchanged(RemoveNoOps(), X + graph)


def test_an_output_keeps_its_name() -> None:
    check_pass(RemoveNoOps(), X + "{ t = Neg(x)  y = Neg(t) }", X + "{ y = Identity(x) }")


def test_whole_numbers_have_one_zero() -> None:
    before = "(int64[3] x) => (int64[3] y) <int64 z = {0}, int64[3] t> { t = Abs(x)  u = Add(t, z)  y = Neg(u) }"
    check_pass(RemoveNoOps(), before, "(int64[3] x) => (int64[3] y) { t = Abs(x)  y = Neg(t) }")
