"""The group norm of older exports becomes the operator."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged
from hub import hub

from compiler.passes.fuse_group_normalization import FuseGroupNormalization

X = "(float[n,4,h,5] x) => (float[n,4,h,5] y)"
CONSTANTS = (
    "int64[3] groups = {0, 2, -1}",
    "float[2] one = {1, 1}",
    "float[2] zero = {0, 0}",
    "float[2] two = {2, 2}",
    "float[4,1,1] w = {1, 2, 0.5, -1}",
    "float[1,4,1,1] b = {0, 1, 2, 3}",
    "float[5] row = {1, 2, 3, 4, 5}",
    "float[4] w4 = {1, 2, 0.5, -1}",
    "float[4] b4 = {0, 1, 2, 3}",
    "float[4] one4 = {1, 1, 1, 1}",
    "float[4] zero4 = {0, 0, 0, 0}",
    "float[n,2,r] g",
    "float[n,4,h,5] back",
)
CORE = "g = Reshape(x, groups) i = InstanceNormalization<epsilon=0.25>(g, one, zero) s = Shape(x) back = Reshape(i, s) "
NORM = "GroupNormalization<epsilon=0.25, num_groups=2>"


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    ("tail", "after"),
    [
        ("t = Mul(back, w) y = Add(t, b)", f"y = {NORM}(x, w4, b4)"),
        ("t = Mul(w, back) y = Add(b, t)", f"y = {NORM}(x, w4, b4)"),
        ("y = Mul(back, w)", f"y = {NORM}(x, w4, zero4)"),
        ("y = Add(back, b)", f"y = {NORM}(x, one4, b4)"),
        ("y = Mul(back, row)", f"t = {NORM}(x, one4, zero4) y = Mul(t, row)"),
    ],
)
def test_every_spelling(tail: str, after: str) -> None:
    check_pass(FuseGroupNormalization(), graph(CORE + tail), graph(after))


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (
            CORE + "y = Mul(back, w) z = Neg(i)",
            "(float[n,4,h,5] x) => (float[n,4,h,5] y, float[n,2,r] z)",
            "'i' has other users",
        ),
        (CORE.replace("back", "other") + "y = Reshape(other, s)", X, "it does not come back to the shape it had"),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseGroupNormalization(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        CORE.replace("zero)", "two)") + "y = Mul(back, w)",
        "y = InstanceNormalization(x, w4, b4)",
    ],
)
def test_other_norms_are_left_alone(body: str) -> None:
    check_unchanged(FuseGroupNormalization(), graph(body))
