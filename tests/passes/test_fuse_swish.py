"""Swish is found with its factor inside, and left alone where something else stands around."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged
from hub import hub

from compiler.passes.fuse_swish import FuseSwish

X = "(float[b,4] x) => (float[b,4] y)"
CONSTANTS = ("float quick = {1.702}", "float two = {2}", "float minus = {-1}", "double fine = {1.7}", "float[b,4] t")


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("s = Sigmoid(x) y = Mul(x, s)", "y = Swish<alpha=1.0>(x)"),
        ("s = Sigmoid(x) y = Mul(s, x)", "y = Swish<alpha=1.0>(x)"),
        ("a = Mul(quick, x) s = Sigmoid(a) y = Mul(s, x)", "y = Swish<alpha=1.702>(x)"),
        ("a = Div(x, two) s = Sigmoid(a) y = Mul(s, x)", "y = Swish<alpha=0.5>(x)"),
        ("a = Neg(x) s = Sigmoid(a) y = Mul(x, s)", "y = Swish<alpha=-1.0>(x)"),
        ("t = Abs(x) s = Sigmoid(t) u = Mul(t, s) y = Mul(u, x)", "t = Abs(x) u = Swish<alpha=1.0>(t) y = Mul(u, x)"),
    ],
)
def test_every_spelling(body: str, after: str) -> None:
    check_pass(FuseSwish(), graph(body), graph(after))


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        ("s = Sigmoid(x) y = Mul(x, s) z = Neg(s)", "(float[4] x) => (float[4] y, float[4] z)", "'s' has other users"),
        ("s = Sigmoid(x) y = Mul(x, s)", "(float[4] x) => (float[4] y, float[4] s)", "'s' is an output"),
        ("a = Mul(x, fine) s = Sigmoid(a) y = Mul(x, s)", "(double[4] x) => (double[4] y)", "would lose digits"),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseSwish(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid(x) n = Neg(x) y = Mul(n, s)",
        "a = Add(x, two) s = Sigmoid(a) y = Mul(x, s)",
        "s = Sigmoid(x) a = Mul(s, two) y = Mul(a, x)",
        "s = Sigmoid(x) y = Div(x, s)",
        "s = Sigmoid(x) y = Mul(s, s)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseSwish(), graph(body))
