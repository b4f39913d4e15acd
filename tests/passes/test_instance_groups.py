"""A group norm becomes an instance norm over its groups."""

from __future__ import annotations

import pytest
from check import apply, check_unchanged, parse, same_numbers
from hub import hub

from backends.onnxruntime.passes.instance_groups import InstanceGroups

WEIGHTS = ("float[4] w = {1, 2, 0.5, -1}", "float[4] b = {0, 1, 2, 3}")


@pytest.mark.parametrize(
    ("groups", "operators"),
    [
        (2, ["Reshape", "InstanceNormalization", "Shape", "Reshape", "Mul", "Add"]),
        (4, ["InstanceNormalization"]),
    ],
)
@pytest.mark.parametrize("rank", [3, 4])
def test_it_computes_the_same(groups: int, operators: list[str], rank: int) -> None:
    shape = ",".join(["n", "4", "h", "w2"][:rank])
    body = f"y = GroupNormalization<num_groups={groups}, epsilon=0.25>(x, w, b)"
    text = hub(f"(float[{shape}] x) => (float[{shape}] y)", body, *WEIGHTS)
    original, model = parse(text), parse(text)
    assert apply(InstanceGroups(), model)
    assert not apply(InstanceGroups(), model)
    assert [node.op_type for node in model.graph] == operators
    same_numbers(original, model)


def test_parameters_may_be_inputs() -> None:
    text = hub(
        "(float[n,4,h] x, float[4] s, float[4] t) => (float[n,4,h] y)", "y = GroupNormalization<num_groups=2>(x, s, t)"
    )
    original, model = parse(text), parse(text)
    assert apply(InstanceGroups(), model)
    same_numbers(original, model)


@pytest.mark.parametrize(
    "text",
    [
        hub("(double[n,4,h] x, double[4] s) => (double[n,4,h] y)", "y = GroupNormalization<num_groups=2>(x, s, s)"),
        '<ir_version: 10, opset_import: ["" : 18]> g (float[n,4,h] x, float[2] s) => (float[n,4,h] y)'
        "{ y = GroupNormalization<num_groups=2>(x, s, s) }",
    ],
)
def test_other_types_and_older_meanings_are_left_alone(text: str) -> None:
    check_unchanged(InstanceGroups(), text)
