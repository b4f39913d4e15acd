from __future__ import annotations

import pytest
from check import apply, check_pass, check_unchanged, parse

from compiler.passes.fold_shapes import FoldShapes
from compiler.passes.reshaping import MAY_BE_EMPTY

X = "(float[n,m,8] x) => (float[n,m,2,4] y) "
AFTER = X + "<int64[4] s = {0, 0, 2, 4}> { y = Reshape(x, s) }"
HEADS = "int64[1] h = {2}, int64[1] d = {4}"


@pytest.mark.parametrize(
    "graph",
    [
        f"<int64[2] i = {{0, 1}}, {HEADS}> {{ s = Shape(x)  g = Gather(s, i)  t = Concat<axis = 0>(g, h, d)"
        "  y = Reshape(x, t) }",
        f"<int64 i = {{0}}, int64 j = {{1}}, int64[1] o = {{0}}, {HEADS}> {{ s = Shape(x)  a = Gather(s, i)"
        "  b = Gather(s, j)  c = Unsqueeze(a, o)  e = Unsqueeze(b, o)  t = Concat<axis = 0>(c, e, h, d)"
        "  y = Reshape(x, t) }",
        f"<{HEADS}> {{ s = Shape<start = 0, end = 2>(x)  t = Concat<axis = 0>(s, h, d)  y = Reshape(x, t) }}",
        f"<int64[1] a = {{0}}, int64[1] b = {{2}}, {HEADS}> {{ s = Shape(x)  g = Slice(s, a, b)"
        "  t = Concat<axis = 0>(g, h, d)  y = Reshape(x, t) }",
        "<int64 i = {2}, int64 k = {4}, int64[1] o = {0}, int64[1] d = {4}> { s = Shape<end = 2>(x)"
        "  w = Shape(x)  g = Gather(w, i)  q = Div(g, k)  u = Unsqueeze(q, o)  t = Concat<axis = 0>(s, u, d)"
        "  y = Reshape(x, t) }",
    ],
)
def test_a_computed_target_becomes_a_constant(graph: str) -> None:
    check_pass(FoldShapes(), X + graph, AFTER)


def test_one_dim_may_be_left_open() -> None:
    head = "(float[n,m,8] x) => (float[k,8] y) "
    before = "<int64 i = {0}, int64 j = {1}, int64[1] o = {0}, int64[1] e = {8}> { s = Shape(x)  a = Gather(s, i)"
    before += "  b = Gather(s, j)  c = Mul(a, b)  u = Unsqueeze(c, o)  t = Concat<axis = 0>(u, e)  y = Reshape(x, t) }"
    check_pass(FoldShapes(), head + before, head + "<int64[2] s = {-1, 8}> { y = Reshape(x, s) }")


def test_two_open_dims_are_too_many() -> None:
    graph = "(float[n,m] x, float[m,n] z) => (float[m,n] y) { s = Shape(z)  y = Reshape(x, s) }"
    check_unchanged(FoldShapes(), graph, because="more than one dim")


def test_a_dim_that_may_be_0_is_not_kept_beside_an_open_one() -> None:
    """-1 cannot be told from 0 elements: a cache is empty at first."""
    graph = "(float[past,m,2] x) => (float[past,k] y) <int64[1] o = {-1}> { s = Shape<end = 1>(x)"
    graph += "  t = Concat<axis = 0>(s, o)  y = Reshape(x, t) }"
    model = parse(graph)
    model.meta[MAY_BE_EMPTY] = frozenset({"past"})
    assert not apply(FoldShapes(), model)
    assert apply(FoldShapes(), parse(graph))


def test_an_open_dim_that_the_others_settle_is_written_down() -> None:
    """One head: nothing but the size of the whole says so."""
    graph = "(float[n,m,8] x) => (float[n,m,h,8] y) <int64[1] o = {-1}, int64[1] d = {8}> { s = Shape<end = 2>(x)"
    graph += "  t = Concat<axis = 0>(s, o, d)  y = Reshape(x, t) }"
    after = "(float[n,m,8] x) => (float[n,m,h,8] y) <int64[4] s = {0, 0, 1, 8}> { y = Reshape(x, s) }"
    check_pass(FoldShapes(), graph, after)


def test_a_size_that_is_a_number_is_a_constant() -> None:
    head = "(float[n,3] x) => (int64[1] y) "
    before = head + "<int64[1] i = {1}, int64[1] g> { s = Shape(x)  g = Gather(s, i)  y = Neg(g) }"
    check_pass(FoldShapes(), before, head + "<int64[1] c = {3}> { y = Neg(c) }")


def test_a_size_that_was_asked_for_before_is_used_again() -> None:
    head = "(float[n,3] x, float[n,4] z) => (int64[1] y) "
    before = head + "<int64[1] a, int64[1] b> { a = Shape<end = 1>(x)  b = Shape<end = 1>(z)  y = Add(a, b) }"
    check_pass(FoldShapes(), before, head + "{ a = Shape<end = 1>(x)  y = Add(a, a) }")


def test_a_slice_to_the_size_that_is_there() -> None:
    head = "(float[n,3] x) => (float[n,3] y) <int64[1] z = {0}> "
    before = head + "{ s = Shape<end = 1>(x)  t = Slice(x, z, s, z)  y = Neg(t) }"
    check_pass(FoldShapes(), before, "(float[n,3] x) => (float[n,3] y) { y = Neg(x) }")


def test_an_expand_to_the_shape_that_is_there() -> None:
    head = "(float[n,3] x) => (float[n,3] y) "
    check_pass(FoldShapes(), head + "{ s = Shape(x)  t = Expand(x, s)  y = Neg(t) }", head + "{ y = Neg(x) }")


def test_the_idiom_for_expand_that_keeps_dims() -> None:
    """-1 in torch's expand becomes Where(shape == -1, 1, shape)."""
    head = "(float[n,1,3] x) => (float[n,1,3] y) "
    before = head + "<int64[1] m = {-1}, int64[1] o = {1}, int64[1] t = {3}, int64[3] ones = {1, 1, 1}> "
    before += "{ a = Concat<axis = 0>(m, o, t)  e = Equal(a, m)  w = Where(e, ones, a)  b = Expand(x, w)  y = Neg(b) }"
    check_pass(FoldShapes(), before, head + "{ y = Neg(x) }")


def test_words_for_unknown_are_no_names() -> None:
    graph = '(float["?",3] x, float["?",3] z) => (float[n,3] y) { s = Shape(z)  t = Expand(x, s)  y = Neg(t) }'
    check_unchanged(FoldShapes(), graph)
