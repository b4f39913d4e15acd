from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.merge_affine import MergeAffine

X = "(float[n,2] x) => (float[n,2] y) "


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("float a = {2}, float b = {3}> { t = Mul(x, a)  y = Mul(b, t)", "float c = {6}> { y = Mul(x, c)"),
        ("float a = {2}, float b = {4}> { t = Mul(x, a)  y = Div(t, b)", "float c = {0.5}> { y = Mul(x, c)"),
        ("float a = {2}, float b = {3}> { t = Add(x, a)  y = Add(t, b)", "float c = {5}> { y = Add(x, c)"),
        ("float a = {2}, float b = {3}> { t = Sub(x, a)  y = Sub(t, b)", "float c = {-5}> { y = Add(x, c)"),
        (
            "float a = {2}, float[2] b = {3, 4}> { t = Mul(a, x)  y = Mul(t, b)",
            "float[2] c = {6, 8}> { y = Mul(x, c)",
        ),
    ],
)
def test_two_become_one(before: str, after: str) -> None:
    check_pass(MergeAffine(), X + f"<float[n,2] t, {before} }}", X + f"<{after} }}")


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        ("float a = {8388608}> { t = Add(x, a)  y = Sub(t, a) }", "rounding"),  # how some graphs round
        ("float a = {2}> { t = Mul(x, a)  u = Mul(t, a)  y = Add(t, u) }", "other users"),
        ("float a = {1e30}> { t = Mul(x, a)  y = Mul(t, a) }", "cannot be put into one"),
        ("float a = {1e-30}> { t = Mul(x, a)  y = Mul(t, a) }", "cannot be put into one"),
    ],
)
def test_what_stays(graph: str, because: str) -> None:
    check_unchanged(MergeAffine(), X + f"<float[n,2] t, float[n,2] u, {graph}", because)


def test_a_constant_does_not_grow() -> None:
    graph = "(float[2,2] x) => (float[2,2] y) <float[2,2] t, float[2] a = {1, 2}, float[2,1] b = {3, 4}>"
    check_unchanged(MergeAffine(), graph + " { t = Mul(x, a)  y = Mul(t, b) }", because="cannot be put into one")
