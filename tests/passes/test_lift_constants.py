from __future__ import annotations

import onnx_ir as ir
from check import apply, check_pass, check_unchanged, parse

from compiler.passes.lift_constants import LiftConstants


def test_a_constant_becomes_an_initializer() -> None:
    check_pass(
        LiftConstants(),
        "(float[2] x) => (float[2] y) { c = Constant<value = float[2] {1, 2}>()  y = Add(x, c) }",
        "(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { y = Add(x, c) }",
    )


def test_every_way_to_write_a_constant() -> None:
    before = """(float[1] x) => (float[1] y, int64[1] z) {
        a = Constant<value_float = 2.5>()  b = Constant<value_floats = [3.5]>()
        c = Constant<value_int = 3>()  d = Constant<value_ints = [4]>()
        t = Mul(x, a)  y = Add(t, b)  z = Add(c, d)
    }"""
    after = """(float[1] x) => (float[1] y, int64[1] z)
        <float a = {2.5}, float[1] b = {3.5}, int64 c = {3}, int64[1] d = {4}>
        { t = Mul(x, a)  y = Add(t, b)  z = Add(c, d) }"""
    check_pass(LiftConstants(), before, after)


def test_a_large_constant_is_lifted_as_well() -> None:
    values = ", ".join("1" for _ in range(5000))
    model = parse(f"(float x) => (float[5000] y) {{ c = Constant<value = float[5000] {{{values}}}>()  y = Add(x, c) }}")
    assert apply(LiftConstants(), model)
    assert [node.op_type for node in model.graph] == ["Add"]


def test_a_constant_in_a_branch_is_lifted_where_it_stands() -> None:
    model = parse("""(float[2] x, bool flag) => (float[2] y) {
        y = If(flag) <
            then_branch = a () => (float[2] p) { c = Constant<value = float[2] {1, 2}>()  p = Add(x, c) },
            else_branch = b () => (float[2] q) { q = Identity(x) }
        >
    }""")
    assert apply(LiftConstants(), model)
    assert [node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)] == ["If", "Add", "Identity"]
    assert not apply(LiftConstants(), model)


def test_an_output_that_is_a_constant_keeps_its_node() -> None:
    check_unchanged(LiftConstants(), "(float x) => (float[1] y) { y = Constant<value_floats = [1.0]>() }")


def test_nothing_to_lift() -> None:
    check_unchanged(LiftConstants(), "(float[2] x) => (float[2] y) { y = Relu(x) }")
