from __future__ import annotations

from check import check_pass, check_unchanged

from compiler.passes.remove_expands import RemoveExpands

X = "(float[n,m] x, float[1,m] z) => (float[n,m] y) "


def test_the_operator_stretches_by_itself() -> None:
    before = X + "{ s = Shape(x)  t = Expand(z, s)  y = Mul(t, x) }"
    check_pass(RemoveExpands(), before, X + "{ y = Mul(z, x) }")


def test_an_expand_that_makes_the_shape_stays() -> None:
    graph = "(float[n,m] x, float[m] z) => (float[n,m] y) { s = Shape(x)  t = Expand(z, s)  y = Mul(t, z) }"
    check_unchanged(RemoveExpands(), graph, because="another shape")


def test_with_other_users_it_stays_for_them() -> None:
    head = "(float[n,m] x, float[1,m] z) => (float[n,m] y, float[n,m] t) "
    before = head + "{ s = Shape(x)  t = Expand(z, s)  y = Mul(t, x) }"
    check_pass(RemoveExpands(), before, head + "{ s = Shape(x)  t = Expand(z, s)  y = Mul(z, x) }")
