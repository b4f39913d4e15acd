from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.remove_identities import RemoveIdentities


def test_users_take_the_input_instead() -> None:
    check_pass(
        RemoveIdentities(),
        "(float[2] x) => (float[2] y) { a = Identity(x)  b = Identity(a)  t = Relu(b)  y = Add(t, a) }",
        "(float[2] x) => (float[2] y) { t = Relu(x)  y = Add(t, x) }",
    )


def test_an_output_keeps_its_name() -> None:
    check_pass(
        RemoveIdentities(),
        "(float[2] x) => (float[2] y) { t = Relu(x)  y = Identity(t) }",
        "(float[2] x) => (float[2] y) { y = Relu(x) }",
    )


def test_an_input_that_is_handed_out_stays_apart() -> None:
    check_unchanged(RemoveIdentities(), "(float[2] x) => (float[2] y) { y = Identity(x) }")


def test_two_outputs_of_one_value_stay_two() -> None:
    check_pass(
        RemoveIdentities(),
        "(float[2] x) => (float[2] y, float[2] z) { t = Relu(x)  y = Identity(t)  z = Identity(t) }",
        "(float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Identity(y) }",
    )


def test_a_weight_that_is_handed_out_stays_a_weight() -> None:
    check_unchanged(
        RemoveIdentities(),
        "(float[2] x) => (float[2] y, float[2] z) <float[2] w = {1, 2}> { y = Add(x, w)  z = Identity(w) }",
    )


def test_inside_a_branch() -> None:
    check_pass(
        RemoveIdentities(),
        """(float[2] x, bool flag) => (float[2] y) { y = If(flag) <
            then_branch = a () => (float[2] p) { i = Identity(x)  p = Relu(i) },
            else_branch = b () => (float[2] q) { q = Neg(x) }> }""",
        """(float[2] x, bool flag) => (float[2] y) { y = If(flag) <
            then_branch = a () => (float[2] p) { p = Relu(x) },
            else_branch = b () => (float[2] q) { q = Neg(x) }> }""",
    )


@pytest.mark.parametrize("outer", ["x", "t", "w"])
def test_a_branch_that_only_hands_on_an_outer_value_keeps_its_node(outer: str) -> None:
    check_unchanged(
        RemoveIdentities(),
        f"""(float[2] x, bool flag) => (float[2] y) <float[2] w = {{1, 2}}> {{
            t = Add(x, w)  y = If(flag) <
            then_branch = a () => (float[2] p) {{ p = Identity({outer}) }},
            else_branch = b () => (float[2] q) {{ q = Neg(t) }}> }}""",
    )


def test_an_output_keeps_the_shape_it_was_declared_with() -> None:
    check_pass(
        RemoveIdentities(),
        "(float[n,2] x) => (float[n,2] y) <float[3,2] t> { t = Relu(x)  y = Identity(t) }",
        "(float[n,2] x) => (float[n,2] y) { y = Relu(x) }",
    )


def test_a_value_that_is_handed_out_twice_keeps_one_node() -> None:
    check_unchanged(RemoveIdentities(), "(float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Identity(y) }")
