"""Mish is found around Softplus, and around what Softplus is defined as."""

from __future__ import annotations

import numpy as np
import pytest
from check import check_pass, check_unchanged, parse
from hub import hub

from compiler.ir.evaluate import Evaluator
from compiler.passes.fuse_mish import FuseMish

X = "(float[b,4] x) => (float[b,4] y)"
CONSTANTS = ("float one = {1}", "float two = {2}")
WRITTEN = "e = Exp(x) a = Add(one, e) p = Log(a) t = Tanh(p) y = Mul(t, x)"


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize("body", ["p = Softplus(x) t = Tanh(p) y = Mul(x, t)", WRITTEN])
def test_every_spelling(body: str) -> None:
    check_pass(FuseMish(), graph(body), graph("y = Mish(x)"))


def test_what_overflows_when_written_out_is_right() -> None:
    x = np.array([[-200.0, 0.0, 20.0, 200.0]], np.float32)
    model = parse(graph(WRITTEN))
    FuseMish()(model)
    np.testing.assert_allclose(Evaluator(model, precise=False)({"x": x})["y"], [[0, 0, 20, 200]], atol=1e-6)


def test_a_shared_softplus_stays() -> None:
    interface = "(float[4] x) => (float[4] y, float[4] p)"
    check_unchanged(FuseMish(), graph("p = Softplus(x) t = Tanh(p) y = Mul(x, t)", interface), "'p' is an output")


@pytest.mark.parametrize(
    "body",
    [
        "p = Softplus(x) t = Tanh(p) n = Neg(x) y = Mul(n, t)",
        WRITTEN.replace("one", "two"),
        "p = Softplus(x) t = Sigmoid(p) y = Mul(x, t)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseMish(), graph(body))
