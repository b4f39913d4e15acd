"""Old graphs come to the hub's opset and compute what they computed, or stay where they are and say why."""

from __future__ import annotations

import pytest
from check import apply, check_pass, check_unchanged, parse, same_numbers

from compiler.passes.raise_opset import RaiseOpset


def at(opset: int, text: str) -> str:
    return f'<ir_version: 10, opset_import: ["" : {opset}]> g {text}'


@pytest.mark.parametrize(
    ("opset", "before", "after"),
    [
        (
            14,
            "(float[2,3] x) => (float[2,1] y) { y = ReduceMean<axes=[-1]>(x) }",
            "(float[2,3] x) => (float[2,1] y) <int64[1] a = {-1}> { y = ReduceMean(x, a) }",
        ),
        (
            17,
            "(float[2,3] x) => (float[1,1] y) { y = ReduceMax(x) }",
            "(float[2,3] x) => (float[1,1] y) { y = ReduceMax(x) }",
        ),
        (
            12,
            "(float[2,1,3] x) => (float[2,3] y) { y = Squeeze<axes=[1]>(x) }",
            "(float[2,1,3] x) => (float[2,3] y) <int64[1] a = {1}> { y = Squeeze(x, a) }",
        ),
        (
            13,
            "(float[4] x) => (float[2] y) { y, z = Split<axis=0>(x) }",
            "(float[4] x) => (float[2] y) { y, z = Split<axis=0, num_outputs=2>(x) }",
        ),
        (
            11,
            "(float[4] x) => (float[1] y) { y, z = Split<axis=0, split=[1,3]>(x) }",
            "(float[4] x) => (float[1] y) <int64[2] s = {1, 3}> { y, z = Split<axis=0>(x, s) }",
        ),
        (
            13,
            "(float[4] x) => (float[1] y) <int64[2] s = {1, 3}> { y, z = Split<axis=0>(x, s) }",
            "(float[4] x) => (float[1] y) <int64[2] s = {1, 3}> { y, z = Split<axis=0>(x, s) }",
        ),
        (
            11,
            "(float[2,3] x) => (float[2,3] y) { t = Softmax(x) y = Dropout<ratio=0.5>(t) }",
            "(float[2,3] x) => (float[2,3] y) <float r = {0.5}> { t = Softmax<axis=-1>(x) y = Dropout(t, r) }",
        ),
        (
            16,
            "(float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample(x, g) }",
            '(float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample<mode="linear">(x, g) }',
        ),
    ],
)
def test_what_became_an_input(opset: int, before: str, after: str) -> None:
    check_pass(RaiseOpset(), at(opset, before), at(24, after))


def test_inside_a_branch() -> None:
    one = "then_branch = t () => (float[1] p) { p = ReduceSum<axes=[0]>(x) }"
    two = "else_branch = e () => (float[1] n) { n = Neg(x) }"
    text = at(12, f"(float[1] x, bool c) => (float[1] y) {{ y = If<{one}, {two}>(c) }}")
    original, model = parse(text), parse(text)
    assert apply(RaiseOpset(), model)
    (inner,) = [node for node in model.graph.all_nodes() if node.op_type == "ReduceSum"]
    assert "axes" not in inner.attributes
    assert len(inner.inputs) == 2
    same_numbers(original, model)


@pytest.mark.parametrize(
    ("opset", "graph", "because"),
    [
        (12, "(float[2,3,4] x) => (float[2,3,4] y) { t = Neg(x) y = Softmax(t) }", "its meaning changed with opset 13"),
        (
            18,
            "(float[1,4,2,2] x, float[2] s) => (float[1,4,2,2] y) { y = GroupNormalization<num_groups=2>(x, s, s) }",
            "its meaning changed between opset 18 and 21",
        ),
    ],
)
def test_what_would_mean_something_else_stays(opset: int, graph: str, because: str) -> None:
    check_unchanged(RaiseOpset(), at(opset, graph), because)


@pytest.mark.parametrize("axis", ["", "<axis=2>"])
def test_the_axis_of_a_transform_becomes_an_input(axis: str) -> None:
    graph = f"(float[1,4,6,2] x) => (float[1,4,6,2] y) {{ y = DFT{axis}(x) }}"
    model, original = parse(at(17, graph)), parse(at(17, graph))
    assert apply(RaiseOpset(), model)
    (node,) = model.graph
    assert (len(node.attributes), len(node.inputs)) == (0, 3)
    same_numbers(original, model)


def test_all_or_nothing() -> None:
    graph = "(float[2,3,4] x) => (float[2,1,4] y) { t = Softmax(x) y = ReduceMean<axes=[1]>(t) }"
    check_unchanged(RaiseOpset(), at(12, graph), "its meaning changed with opset 13")


@pytest.mark.parametrize("opset", [10, 24])
def test_very_old_and_current_graphs_are_left_alone(opset: int) -> None:
    check_unchanged(RaiseOpset(), at(opset, "(float[2] x) => (float[2] y) { y = Neg(x) }"))
