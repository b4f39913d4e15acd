from __future__ import annotations

from check import check_pass, check_unchanged, parse

from compiler.ir.provenance import origins
from compiler.passes.merge_common_subexpressions import MergeCommonSubexpressions

X = "(float[n,3] x) => (float[n,3] y) "
TWICE = X + "{ a = Relu(x)  b = Relu(x)  c = Exp(a)  d = Exp(b)  y = Add(c, d) }"


def test_a_chain_that_is_there_twice() -> None:
    after = check_pass(MergeCommonSubexpressions(), TWICE, X + "{ a = Relu(x)  c = Exp(a)  y = Add(c, c) }")
    assert {origin.module for origin in origins(after.graph[0])} == {"layers.0", "layers.1"}


def test_two_outputs_of_one_value_stay_two() -> None:
    both = "(float[3] x) => (float[3] y, float[3] z) "
    check_pass(
        MergeCommonSubexpressions(), both + "{ y = Relu(x)  z = Relu(x) }", both + "{ y = Relu(x)  z = Identity(y) }"
    )


def test_other_attributes_other_values() -> None:
    check_unchanged(
        MergeCommonSubexpressions(), X + "{ a = Softmax<axis = 0>(x)  b = Softmax<axis = 1>(x)  y = Add(a, b) }"
    )


def test_two_zeros_are_not_one() -> None:
    graph = X + "{ a = ThresholdedRelu<alpha = 0.0>(x)  b = ThresholdedRelu<alpha = -0.0>(x)  y = Div(a, b) }"
    check_unchanged(MergeCommonSubexpressions(), graph)


def test_two_draws_are_not_one() -> None:
    """onnx-ir's pass takes them for one."""
    model = parse(X + "{ a = Bernoulli(x)  b = Bernoulli(x)  y = Add(a, b) }")
    assert not MergeCommonSubexpressions()(model).modified


def test_inside_a_branch() -> None:
    head = "(bool c, float[3] x) => (float[3] y) "
    other = "else_branch = g2 () => (float[3] e) { e = Neg(x) }"
    before = f"{{ y = If(c) <then_branch = g1 () => (float[3] t) {{ a = Exp(x) b = Exp(x) t = Add(a, b) }}, {other}> }}"
    after = f"{{ y = If(c) <then_branch = g1 () => (float[3] t) {{ a = Exp(x) t = Add(a, a) }}, {other}> }}"
    check_pass(MergeCommonSubexpressions(), head + before, head + after)


def test_several_results_at_once() -> None:
    head = "(float[4] x) => (float[2] y) "
    before = head + "{ a, b = Split<num_outputs = 2>(x)  c, d = Split<num_outputs = 2>(x)  y = Sub(a, d) }"
    check_pass(MergeCommonSubexpressions(), before, head + "{ a, b = Split<num_outputs = 2>(x)  y = Sub(a, b) }")
