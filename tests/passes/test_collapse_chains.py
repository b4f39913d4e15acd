"""Chains of casts, transposes, reshapes, slices and concats."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.collapse_casts import CollapseCasts
from compiler.passes.collapse_concats import CollapseConcats
from compiler.passes.collapse_reshapes import CollapseReshapes
from compiler.passes.collapse_slices import CollapseSlices
from compiler.passes.collapse_transposes import CollapseTransposes

CUBE = "(float[2,3,4] x) => (float[2,3,4] y) "

# -- casts ------------------------------------------------------------------------------------------------------


def test_a_wider_type_in_between_is_not_needed() -> None:
    head = "(int32[3] x) => (float[3] y) "
    check_pass(CollapseCasts(), head + "{ t = Cast<to = 7>(x)  y = Cast<to = 1>(t) }", head + "{ y = Cast<to = 1>(x) }")


def test_there_and_back() -> None:
    head = "(float[3] x) => (float[3] y) "
    before = head + "{ t = Cast<to = 11>(x)  u = Cast<to = 1>(t)  y = Neg(u) }"
    check_pass(CollapseCasts(), before, head + "{ y = Neg(x) }")


@pytest.mark.parametrize(("kind", "middle"), [("float", 10), ("float", 7), ("int64", 1), ("int32", 1), ("float", 9)])
def test_a_cast_that_cuts_stays(kind: str, middle: int) -> None:
    graph = f"({kind}[3] x) => (double[3] y) {{ t = Cast<to = {middle}>(x)  y = Cast<to = 11>(t) }}"
    check_unchanged(CollapseCasts(), graph, because="rounds or cuts")


def test_a_cast_like_keeps_whether_it_saturates() -> None:
    """onnxscript's folder does not: what is too large would become the largest number instead of NaN."""
    head = "(float[3] x, float8e5m2[1] z) => (float8e5m2[3] y) "
    before = head + "{ y = CastLike<saturate = 0>(x, z) }"
    check_pass(CollapseCasts(), before, head + "{ y = Cast<saturate = 0, to = 19>(x) }")


# -- transposes -------------------------------------------------------------------------------------------------


def test_two_orders_in_one() -> None:
    head = "(float[2,3,4] x) => (float[4,2,3] y) "
    before = head + "{ t = Transpose<perm = [1, 0, 2]>(x)  y = Transpose<perm = [2, 1, 0]>(t) }"
    check_pass(CollapseTransposes(), before, head + "{ y = Transpose<perm = [2, 0, 1]>(x) }")


def test_there_and_back_again() -> None:
    before = CUBE + "{ a = Transpose<perm = [1, 2, 0]>(x)  b = Transpose<perm = [2, 0, 1]>(a)  y = Neg(b) }"
    check_pass(CollapseTransposes(), before, CUBE + "{ y = Neg(x) }")


def test_without_an_order_it_is_the_reverse() -> None:
    before = "(float[2,3] x) => (float[2,3] y) <float[3,2] a> { a = Transpose(x)  b = Transpose(a)  y = Neg(b) }"
    check_pass(CollapseTransposes(), before, "(float[2,3] x) => (float[2,3] y) { y = Neg(x) }")


# -- reshapes ---------------------------------------------------------------------------------------------------


def test_the_last_shape_counts() -> None:
    head = "(float[n,6] x) => (float[n,3,2] y) "
    before = head + "<int64[3] s = {0, 2, 3}, int64[3] t = {-1, 3, 2}> { a = Reshape(x, s)  y = Reshape(a, t) }"
    check_pass(CollapseReshapes(), before, head + "<int64[3] t = {0, 3, 2}> { y = Reshape(x, t) }")


def test_axes_come_and_go() -> None:
    head = "(float[n,m] x) => (float[n,m] y) "
    before = head + "<int64[1] i = {1}, float[n,m] b> { a = Unsqueeze(x, i)  b = Squeeze(a, i)  y = Neg(b) }"
    check_pass(CollapseReshapes(), before, head + "{ y = Neg(x) }")


def test_a_reshape_with_other_users_stays() -> None:
    graph = "(float[6,6] x) => (float[18,2] y, float[36] z) <int64[1] s = {36}, int64[2] t = {18, 2}> "
    check_unchanged(CollapseReshapes(), graph + "{ z = Reshape(x, s)  y = Reshape(z, t) }")


def test_two_open_dims_cannot_be_said() -> None:
    graph = "(float[n,m] x, float[k,l] z) => (float[k,l] y) <int64[1] s = {-1}> { a = Reshape(x, s)  t = Shape(z)"
    check_unchanged(CollapseReshapes(), graph + "  y = Reshape(a, t) }", because="more than one dim")


# -- slices -----------------------------------------------------------------------------------------------------

CUT = (
    "<int64[1] a = {1}, int64[1] b = {9}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] c = {2}, int64[1] d = {4}> "
)


def test_two_axes_at_once() -> None:
    head = "(float[9,9] x) => (float[8,2] y) "
    before = head + CUT + "{ t = Slice(x, a, b, zero)  y = Slice(t, c, d, one) }"
    after = "<int64[2] s = {1, 2}, int64[2] e = {9, 4}, int64[2] i = {0, 1}, int64[2] k = {1, 1}>"
    after += " { y = Slice(x, s, e, i, k) }"
    check_pass(CollapseSlices(), before, head + after)


def test_one_axis_cut_twice() -> None:
    head = "(float[9,9] x) => (float[2,9] y) "
    before = head + CUT.replace(", int64[1] one = {1}", "") + "{ t = Slice(x, a, b, zero)  y = Slice(t, c, d, zero) }"
    after = "<int64[1] s = {3}, int64[1] e = {5}, int64[1] i = {0}, int64[1] k = {1}> { y = Slice(x, s, e, i, k) }"
    check_pass(CollapseSlices(), before, head + after)


def test_bounds_from_the_end_stay() -> None:
    graph = "(float[9] x) => (float[3] y) <int64[1] a = {-6}, int64[1] b = {-1}, int64[1] c = {1}, int64[1] d = {4}> "
    check_unchanged(
        CollapseSlices(), graph + "{ t = Slice(x, a, b)  y = Slice(t, c, d) }", because="cannot be put into one"
    )


# -- concats ----------------------------------------------------------------------------------------------------


def test_a_concat_in_a_concat() -> None:
    head = "(float[2] x, float[2] z) => (float[6] y) "
    before = head + "<float[4] a> { a = Concat<axis = -1>(x, z)  y = Concat<axis = 0>(a, z) }"
    check_pass(CollapseConcats(), before, head + "{ y = Concat<axis = 0>(x, z, z) }")


def test_what_was_split_comes_together() -> None:
    head = "(float[4] x) => (float[4] y) "
    before = head + "{ a, b = Split<num_outputs = 2>(x)  c = Concat<axis = 0>(a, b)  y = Neg(c) }"
    check_pass(CollapseConcats(), before, head + "{ y = Neg(x) }")


def test_in_another_order_it_is_something_else() -> None:
    graph = "(float[4] x) => (float[4] y) { a, b = Split<num_outputs = 2>(x)  y = Concat<axis = 0>(b, a) }"
    check_unchanged(CollapseConcats(), graph)
