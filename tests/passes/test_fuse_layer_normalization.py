"""The layer norm of old exports becomes the operator; near misses stay and say why."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged
from hub import hub

from compiler.passes.fuse_layer_normalization import FuseLayerNormalization

X = "(float[b,3,4] x) => (float[b,3,4] y)"
HALF = "(float16[b,4] h, float16[4] v) => (float16[b,4] y)"
CONSTANTS = (
    "float[4] w = {1, 2, 0.5, -1}",
    "float[4] c = {3, 0, 1, 1}",
    "float[4] ones = {1, 1, 1, 1}",
    "float two = {2}",
    "float eps = {0.25}",
    "int64[1] last = {-1}",
    "int64[1] middle = {1}",
    "float[b,4] wide",
    "float16[b,4] n16",
    "float[b,3,4] d",
)
CORE = "u = ReduceMean(x, last) d = Sub(x, u) s = Mul(d, d) m = ReduceMean(s, last) a = Add(m, eps) r = Sqrt(a) "
NORM = "LayerNormalization<axis=-1, epsilon=0.25, stash_type=1>"


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    ("tail", "after"),
    [
        ("n = Div(d, r) t = Mul(n, w) y = Add(t, c)", f"y = {NORM}(x, w, c)"),
        ("i = Reciprocal(r) n = Mul(d, i) t = Mul(w, n) y = Add(c, t)", f"y = {NORM}(x, w, c)"),
        ("n = Div(d, r) y = Mul(n, w)", f"y = {NORM}(x, w)"),
        ("y = Div(d, r)", f"y = {NORM}(x, ones)"),
        ("n = Div(d, r) t = Mul(n, w) y = Add(t, two)", f"t = {NORM}(x, w) y = Add(t, two)"),
    ],
)
def test_every_spelling(tail: str, after: str) -> None:
    check_pass(FuseLayerNormalization(), graph(CORE + tail), graph(after))
    check_pass(FuseLayerNormalization(), graph(CORE.replace("Mul(d, d)", "Pow(d, two)") + tail), graph(after))


def test_casts_around_the_norm_belong_to_it() -> None:
    core = CORE.replace("(x, ", "(wide, ").replace("float[b,3,4] d", "float[b,4] d")
    declared = [text for text in CONSTANTS if not text.endswith(" d")] + ["float[b,4] d"]
    body = "wide = Cast<to=1>(h) " + core + "n = Div(d, r) n16 = Cast<to=10>(n) y = Mul(n16, v)"
    after = hub(HALF, f"y = {NORM}(h, v)", *declared)
    check_pass(FuseLayerNormalization(), hub(HALF, body, *declared), after)


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (CORE.replace("ReduceMean(x, last)", "ReduceMean(x, middle)") + "y = Div(d, r)", X, "centred over other axes"),
        (CORE + "y = Div(d, r) z = Neg(d)", "(float[b,3,4] x) => (float[b,3,4] y, float[b,3,4] z)", "'d' has other"),
        (CORE + "y = Div(d, r)", "(float[b,3,4] x) => (float[b,3,4] y, float[b,3,1] u)", "'u' is an output"),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseLayerNormalization(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        CORE.replace("Sub(x, u)", "Sub(u, x)") + "y = Div(d, r)",
        CORE.replace("Sub(x, u)", "Sub(x, two)") + "y = Div(d, r)",
        "s = Mul(x, x) m = ReduceMean(s, last) a = Add(m, eps) r = Sqrt(a) y = Div(x, r)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseLayerNormalization(), graph(body))
