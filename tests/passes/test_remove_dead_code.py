from __future__ import annotations

from check import check_pass, check_unchanged

from compiler.passes.remove_dead_code import RemoveDeadCode


def test_what_no_output_needs_goes_with_its_weights() -> None:
    check_pass(
        RemoveDeadCode(),
        "(float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] unused = {3, 4}> "
        "{ t = Add(x, w)  u = Relu(t)  y = Neg(x) }",
        "(float[2] x) => (float[2] y) { y = Neg(x) }",
    )


def test_an_input_that_nobody_uses_stays_in_the_signature() -> None:
    check_unchanged(RemoveDeadCode(), "(float[2] x, float[2] unused) => (float[2] y) { y = Neg(x) }")


def test_a_value_that_only_a_branch_uses_is_alive() -> None:
    check_unchanged(
        RemoveDeadCode(),
        """(float[2] x, bool flag) => (float[2] y) <float[2] w = {1, 2}> { t = Relu(x)  y = If(flag) <
            then_branch = a () => (float[2] p) { p = Add(t, w) },
            else_branch = b () => (float[2] q) { q = Neg(t) }> }""",
    )


def test_dead_code_in_a_branch_goes() -> None:
    check_pass(
        RemoveDeadCode(),
        """(float[2] x, bool flag) => (float[2] y) { y = If(flag) <
            then_branch = a () => (float[2] p) { dead = Relu(x)  p = Neg(x) },
            else_branch = b () => (float[2] q) { q = Abs(x) }> }""",
        """(float[2] x, bool flag) => (float[2] y) { y = If(flag) <
            then_branch = a () => (float[2] p) { p = Neg(x) },
            else_branch = b () => (float[2] q) { q = Abs(x) }> }""",
    )
