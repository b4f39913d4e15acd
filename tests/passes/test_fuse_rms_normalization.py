"""Every spelling of the root mean square norm becomes the operator; near misses stay and say why."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged
from hub import hub

from compiler.passes.fuse_rms_normalization import FuseRmsNormalization

X = "(float[b,3,4] x) => (float[b,3,4] y)"
HALF = "(float16[b,4] h, float16[4] v) => (float16[b,4] y)"
CONSTANTS = (
    "float[4] w = {1, 2, 0.5, -1}",
    "float[2,2] square = {1, 2, 3, 4}",
    "float[4] ones = {1, 1, 1, 1}",
    "float one = {1}",
    "float two = {2}",
    "float half = {-0.5}",
    "float eps = {0.25}",
    "int64[1] last = {-1}",
    "int64[1] middle = {1}",
    "int64[2] both = {2, 1}",
    "float[b,4] wide",
    "float16[b,4] c",
)
MEAN = " m = ReduceMean(s, last) a = Add(m, eps) "
NORM = "RMSNormalization<axis=-1, epsilon=0.25, stash_type=1>"


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    "body",
    [
        "s = Pow(x, two)" + MEAN + "r = Sqrt(a) i = Reciprocal(r) n = Mul(x, i) y = Mul(w, n)",
        "s = Mul(x, x)" + MEAN + "r = Sqrt(a) n = Div(x, r) y = Mul(n, w)",
        "s = Mul(x, x)" + MEAN + "r = Sqrt(a) i = Div(one, r) n = Mul(i, x) y = Mul(n, w)",
        "s = Mul(x, x)" + MEAN + "i = Pow(a, half) n = Mul(x, i) y = Mul(n, w)",
    ],
)
def test_every_spelling(body: str) -> None:
    check_pass(FuseRmsNormalization(), graph(body), graph(f"y = {NORM}(x, w)"))


def test_several_axes() -> None:
    interface = "(float[b,2,2] x) => (float[b,2,2] y)"
    body = "s = Mul(x, x) m = ReduceMean(s, both) a = Add(m, eps) r = Sqrt(a) n = Div(x, r) y = Mul(n, square)"
    after = "y = RMSNormalization<axis=-2, epsilon=0.25, stash_type=1>(x, square)"
    check_pass(FuseRmsNormalization(), graph(body, interface), graph(after, interface))


def test_casts_around_the_norm_belong_to_it() -> None:
    norm = "wide = Cast<to=1>(h) s = Mul(wide, wide)" + MEAN + "r = Sqrt(a) n = Div(wide, r) c = Cast<to=10>(n)"
    before, after = graph(norm + " y = Mul(c, v)", HALF), graph(f"y = {NORM}(h, v)", HALF)
    check_pass(FuseRmsNormalization(), before, after)


def test_a_scale_in_float32_stays_inside_the_casts() -> None:
    norm = "wide = Cast<to=1>(h) s = Mul(wide, wide)" + MEAN + "r = Sqrt(a) n = Div(wide, r)"
    before = graph(norm + " t = Mul(n, w) y = Cast<to=10>(t)", HALF)
    check_pass(
        FuseRmsNormalization(), before, graph(f"wide = Cast<to=1>(h) t = {NORM}(wide, w) y = Cast<to=10>(t)", HALF)
    )


def test_without_a_scale_it_gets_ones() -> None:
    body = "s = Mul(x, x)" + MEAN + "r = Sqrt(a) y = Div(x, r)"
    check_pass(FuseRmsNormalization(), graph(body), graph(f"y = {NORM}(x, ones)"))


def test_float64_is_computed_in_float64() -> None:
    interface = "(double[3,4] x) => (double[3,4] y)"
    constants = ("double[4] w = {1, 2, 0.5, -1}", "double eps = {0.25}", "int64[1] last = {-1}")
    before = hub(interface, "s = Mul(x, x)" + MEAN + "r = Sqrt(a) n = Div(x, r) y = Mul(n, w)", *constants)
    after = hub(interface, "y = RMSNormalization<axis=-1, epsilon=0.25, stash_type=11>(x, w)", *constants)
    check_pass(FuseRmsNormalization(), before, after)


TAIL = " a = Add(m, eps) r = Sqrt(a) n = Div(x, r) y = Mul(n, w)"


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (
            "s = Mul(x, x) m = ReduceMean(s, last) z = Neg(m)" + TAIL,
            "(float[b,3,4] x) => (float[b,3,4] y, float[b,3,1] z)",
            "'m' has other users",
        ),
        (
            "s = Mul(x, x) m = ReduceMean(s, last)" + TAIL,
            "(float[b,3,4] x) => (float[b,3,4] y, float[b,3,1] a)",
            "'a' is an output of the model",
        ),
        ("s = Mul(x, x) m = ReduceMean(s, middle)" + TAIL, X, "not known to be over the last axes"),
        (
            "s = Mul(x, x) m = ReduceMean<keepdims=0>(s, last)" + TAIL,
            "(float[4,4] x) => (float[4,4] y)",
            "not known to be over the last axes",
        ),
        (
            "s = Mul(x, x)" + MEAN + "r = Sqrt(a) y = Div(x, r)",
            "(float[b,3,c] x) => (float[b,3,c] y)",
            "it has no scale",
        ),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseRmsNormalization(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        "s = Mul(x, w)" + MEAN + "r = Sqrt(a) y = Div(x, r)",
        "s = Pow(x, one)" + MEAN + "r = Sqrt(a) y = Div(x, r)",
        "s = Mul(x, x)" + MEAN + "r = Exp(a) y = Div(x, r)",
        "s = Mul(x, x)" + MEAN + "r = Sqrt(a) i = Div(two, r) y = Mul(x, i)",
        "s = Mul(x, x)" + MEAN + "r = Sqrt(a) i = Reciprocal(r) y = Mul(s, i)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseRmsNormalization(), graph(body))


def test_older_opsets_have_no_such_operator() -> None:
    body = "s = Mul(x, x)" + MEAN + "r = Sqrt(a) n = Div(x, r) y = Mul(n, w)"
    check_unchanged(FuseRmsNormalization(), graph(body).replace('"" : 24', '"" : 22'))
