"""Gelu is found however its factors are ordered, from Erf and from Tanh."""

from __future__ import annotations

import pytest
from check import apply, check_unchanged, parse, same_numbers
from hub import hub

from compiler.passes.fuse_gelu import FuseGelu

X = "(float[b,4] x) => (float[b,4] y)"
CONSTANTS = (
    "float half = {0.5}",
    "float one = {1}",
    "float two = {2}",
    "float three = {3}",
    "float root = {1.4142135}",
    "float inverse = {0.70710677}",
    "float near = {0.7071}",
    "float k = {0.7978846}",
    "float c = {0.044715}",
    "float kc = {0.035677407}",
)
ERF = "a = Div(x, root) e = Erf(a) s = Add(e, one) "
CUBE = "p = Pow(x, three) q = Mul(p, c) i = Add(x, q) a = Mul(i, k) e = Tanh(a) s = Add(one, e) "


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (ERF + "t = Mul(x, s) y = Mul(t, half)", "y = Gelu(x)"),
        (ERF + "h = Mul(half, x) y = Mul(h, s)", "y = Gelu(x)"),
        (ERF + "h = Mul(s, half) y = Mul(x, h)", "y = Gelu(x)"),
        (ERF + "h = Div(s, two) y = Mul(x, h)", "y = Gelu(x)"),
        (ERF.replace("Div(x, root)", "Mul(inverse, x)") + "h = Div(x, two) y = Mul(h, s)", "y = Gelu(x)"),
        (CUBE + "t = Mul(x, s) y = Mul(t, half)", 'y = Gelu<approximate="tanh">(x)'),
        (
            "p = Mul(x, x) r = Mul(p, x) q = Mul(c, r) i = Add(q, x) a = Mul(k, i) e = Tanh(a) s = Add(e, one) "
            "h = Mul(x, half) y = Mul(s, h)",
            'y = Gelu<approximate="tanh">(x)',
        ),
        (
            "p = Mul(x, c) r = Mul(p, x) i = Add(r, one) t = Mul(x, k) a = Mul(t, i) e = Tanh(a) s = Add(e, one) "
            "h = Mul(x, half) y = Mul(s, h)",
            'y = Gelu<approximate="tanh">(x)',
        ),
        (
            "t = Mul(x, k) p = Pow(x, three) r = Mul(p, kc) a = Add(t, r) e = Tanh(a) s = Add(e, one) "
            "h = Mul(x, half) y = Mul(s, h)",
            'y = Gelu<approximate="tanh">(x)',
        ),
    ],
)
def test_every_spelling(body: str, after: str) -> None:
    model, original = parse(graph(body)), parse(graph(body))
    assert apply(FuseGelu(), model)
    assert [node.op_type for node in model.graph] == ["Gelu"]
    assert model.graph[0].attributes.get_string("approximate", "none") == ("tanh" if "tanh" in after else "none")
    assert not apply(FuseGelu(), model)
    # The constants have float32's digits only.
    same_numbers(original, model, precise=1e-7)


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (
            ERF + "t = Mul(x, s) y = Mul(t, half) z = Neg(s)",
            "(float[4] x) => (float[4] y, float[4] z)",
            "'s' has other",
        ),
        (ERF + "t = Mul(x, s) y = Mul(t, half)", "(float[4] x) => (float[4] y, float[4] t)", "'t' is an output"),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseGelu(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        ERF.replace("root", "two") + "t = Mul(x, s) y = Mul(t, half)",
        ERF.replace("Div(x, root)", "Mul(x, near)") + "t = Mul(x, s) y = Mul(t, half)",
        ERF + "t = Mul(x, s) y = Mul(t, two)",
        ERF + "y = Mul(s, half)",
        ERF.replace("one)", "two)") + "t = Mul(x, s) y = Mul(t, half)",
        ERF + "u = Neg(x) t = Mul(u, s) y = Mul(t, half)",
        CUBE.replace("three", "two") + "t = Mul(x, s) y = Mul(t, half)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseGelu(), graph(body))
