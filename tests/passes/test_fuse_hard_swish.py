"""HardSwish is found from the Clip and from the HardSigmoid."""

from __future__ import annotations

import pytest
from check import apply, check_pass, check_unchanged, parse, same_numbers
from hub import hub

from compiler.passes.fuse_hard_swish import FuseHardSwish

X = "(float[b,4] x) => (float[b,4] y)"
CONSTANTS = ("float zero = {0}", "float three = {3}", "float six = {6}", "float sixth = {0.16666667}")
CLIP = "a = Add(x, three) c = Clip(a, zero, six) "


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    "body",
    [
        CLIP + "t = Mul(x, c) y = Div(t, six)",
        CLIP + "t = Div(c, six) y = Mul(t, x)",
    ],
)
def test_from_a_clip(body: str) -> None:
    check_pass(FuseHardSwish(), graph(body), graph("y = HardSwish(x)"))


def test_from_a_hard_sigmoid() -> None:
    """The slope is a float32, whose sixth is not quite one."""
    text = graph("h = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(x, h)")
    original, model = parse(text), parse(text)
    assert apply(FuseHardSwish(), model)
    assert [node.op_type for node in model.graph] == ["HardSwish"]
    same_numbers(original, model, precise=1e-7)


def test_a_shared_clip_stays() -> None:
    interface = "(float[4] x) => (float[4] y, float[4] c)"
    check_unchanged(FuseHardSwish(), graph(CLIP + "t = Mul(x, c) y = Div(t, six)", interface), "'c' is an output")


@pytest.mark.parametrize(
    "body",
    [
        CLIP.replace("six", "three") + "t = Mul(x, c) y = Div(t, six)",
        CLIP + "y = Mul(x, c)",
        CLIP.replace("Add(x, three)", "Add(x, six)") + "t = Mul(x, c) y = Div(t, six)",
        "h = HardSigmoid(x) y = Mul(x, h)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseHardSwish(), graph(body))
