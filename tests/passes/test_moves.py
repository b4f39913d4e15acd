"""Transposes and reshapes that meet through what works element by element."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.move_reshapes import MoveReshapes
from compiler.passes.move_transposes import MoveTransposes


def test_there_and_back_around_an_activation() -> None:
    head = "(float[2,3,4] x) => (float[2,3,4] y) "
    before = head + "<float h = {2}> { a = Transpose<perm = [0, 2, 1]>(x)  b = Relu(a)  c = Mul(h, b)"
    before += "  d = Transpose<perm = [0, 2, 1]>(c)  y = Neg(d) }"
    check_pass(MoveTransposes(), before, head + "<float h = {2}> { b = Relu(x)  c = Mul(h, b)  y = Neg(c) }")


def test_two_orders_become_one() -> None:
    head = "(float[2,3,4] x) => (float[4,2,3] y) "
    before = (
        head + "{ a = Transpose<perm = [1, 0, 2]>(x)  b = Relu(a)  c = Transpose<perm = [2, 1, 0]>(b)  y = Neg(c) }"
    )
    check_pass(MoveTransposes(), before, head + "{ a = Transpose<perm = [2, 0, 1]>(x)  b = Relu(a)  y = Neg(b) }")


@pytest.mark.parametrize(
    "graph",
    [
        "{ a = Transpose(x)  b = Relu(a)  c = Transpose(b)  d = ReduceSum<keepdims = 0>(b)  y = Add(c, d) }",
        "{ a = Transpose(x)  b = Softmax<axis = 1>(a)  y = Transpose(b) }",
        "<float[2] w = {1, 2}> { a = Transpose(x)  b = Mul(a, w)  y = Transpose(b) }",
    ],
)
def test_what_is_between_must_not_care(graph: str) -> None:
    check_unchanged(MoveTransposes(), "(float[2,3] x) => (float[2,3] y) " + graph)


def test_a_reshape_around_an_activation() -> None:
    head = "(float[n,6] x) => (float[n,6] y) "
    before = head + "<int64[3] s = {0, 2, 3}, int64[2] t = {0, 6}, float[n,6] c> { a = Reshape(x, s)  b = Tanh(a)"
    check_pass(MoveReshapes(), before + "  c = Reshape(b, t)  y = Neg(c) }", head + "{ b = Tanh(x)  y = Neg(b) }")


def test_two_shapes_become_one() -> None:
    head = "(float[n,6] x) => (float[n,3,2] y) "
    before = head + "<int64[3] s = {0, 2, 3}, int64[3] t = {0, 3, 2}, float[n,3,2] c> { a = Reshape(x, s)  b = Tanh(a)"
    after = head + "<int64[3] t = {0, 3, 2}> { a = Reshape(x, t)  b = Tanh(a)  y = Neg(b) }"
    check_pass(MoveReshapes(), before + "  c = Reshape(b, t)  y = Neg(c) }", after)


def test_a_list_of_one_beside_a_scalar() -> None:
    graph = "(float[1] x) => (float y) <int64[0] s, float[1] h = {2}, int64[1] i = {0}> "
    check_unchanged(
        MoveReshapes(), graph.replace("int64[0] s, ", "") + "{ a = Unsqueeze(x, i)  b = Mul(a, h)  y = Squeeze(b) }"
    )
