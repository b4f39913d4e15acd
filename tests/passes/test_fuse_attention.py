"""Attention is found with its scale anywhere and its masks in any form, and left alone where the operator differs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_pass, check_unchanged, parse
from hub import hub

from compiler.ir.evaluate import Evaluator
from compiler.passes.fuse_attention import FuseAttention

QKV = "float[b,2,q,16] q, float[b,2,s,16] k, float[b,2,s,16] v"
PLAIN = f"({QKV}) => (float[b,2,q,16] y)"
ADDED = f"({QKV}, float[b,1,q,s] m) => (float[b,2,q,16] y)"
CHOSEN = f"({QKV}, bool[b,1,1,s] m) => (float[b,2,q,16] y)"
TWICE = f"({QKV}, float[b,1,1,s] m, float[1,2,q,s] bias) => (float[b,2,q,16] y)"
CONSTANTS = (
    "float quarter = {0.25}",
    "float half = {0.5}",
    "float two = {2}",
    "float four = {4}",
    "float zero = {0}",
    "float low = {-3.4e38}",
    "float high = {-10000}",
    "float none = {-inf}",
)
TURN = "kt = Transpose<perm=[0,1,3,2]>(k) "
TAIL = " p = Softmax<axis=-1>(z) y = MatMul(p, v)"


def graph(body: str, interface: str = PLAIN) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        (TURN + "z = MatMul(q, kt)", 1.0),
        (TURN + "a = MatMul(q, kt) z = Mul(a, quarter)", 0.25),
        (TURN + "a = MatMul(q, kt) z = Div(a, four)", 0.25),
        (TURN + "a = Mul(quarter, q) z = MatMul(a, kt)", 0.25),
        (TURN + "a = Div(q, four) z = MatMul(a, kt)", 0.25),
        (TURN + "a = Mul(q, half) b2 = Mul(kt, half) z = MatMul(a, b2)", 0.25),
        ("a = Mul(q, half) c = Mul(k, half) kt = Transpose<perm=[0,1,3,2]>(c) z = MatMul(a, kt)", 0.25),
        (TURN + "a = Mul(q, half) c = MatMul(a, kt) z = Mul(c, half)", 0.25),
    ],
)
def test_the_scale_in_any_place(scores: str, scale: float) -> None:
    check_pass(FuseAttention(), graph(scores + TAIL), graph(f"y = Attention<scale={scale}>(q, k, v)"))


def test_keys_that_never_stood_in_heads() -> None:
    """The exporters turn [batch, length, head, element] at once."""
    interface = "(float[b,2,q,16] q, float[b,s,2,16] k, float[b,2,s,16] v) => (float[b,2,q,16] y)"
    check_pass(
        FuseAttention(),
        graph("kt = Transpose<perm=[0,2,3,1]>(k) z = MatMul(q, kt)" + TAIL, interface),
        graph("h = Transpose<perm=[0,2,1,3]>(k) y = Attention<scale=1.0>(q, h, v)", interface),
    )


def test_keys_that_are_turned_with_three_axes() -> None:
    declared = (
        "int64[3] flat = {-1, 5, 16}",
        "int64[4] whole = {3, 2, 16, 5}",
        "float[6,5,16] k3",
        "float[3,2,16,5] kt",
    )
    interface = "(float[3,2,q,16] q, float[3,2,5,16] k, float[3,2,5,16] v) => (float[3,2,q,16] y)"
    body = "k3 = Reshape(k, flat) t = Transpose<perm=[0,2,1]>(k3) kt = Reshape(t, whole) z = MatMul(q, kt)"
    check_pass(
        FuseAttention(),
        hub(interface, body + TAIL, *declared),
        hub(interface, "y = Attention<scale=1.0>(q, k, v)"),
    )


def test_an_added_mask() -> None:
    check_pass(
        FuseAttention(),
        graph(TURN + "a = MatMul(q, kt) c = Mul(a, quarter) z = Add(m, c)" + TAIL, ADDED),
        graph("y = Attention<scale=0.25>(q, k, v, m)", ADDED),
    )


def test_two_added_masks_become_one() -> None:
    check_pass(
        FuseAttention(),
        graph(TURN + "a = MatMul(q, kt) c = Add(a, bias) z = Add(c, m)" + TAIL, TWICE),
        graph("t = Add(bias, m) y = Attention<scale=1.0>(q, k, v, t)", TWICE),
    )


def test_layers_with_the_same_masks_share_their_sum() -> None:
    first = "a1 = MatMul(q, kt) c1 = Add(a1, bias) z1 = Add(c1, m) p1 = Softmax(z1) y1 = MatMul(p1, v) "
    second = "a2 = MatMul(y1, kt) c2 = Add(a2, bias) z2 = Add(c2, m) p2 = Softmax(z2) y = MatMul(p2, v)"
    before = hub(TWICE, TURN + first + second, *CONSTANTS, "float[b,2,q,16] y1")
    after = "t = Add(bias, m) y1 = Attention<scale=1.0>(q, k, v, t) y = Attention<scale=1.0>(y1, k, v, t)"
    check_pass(FuseAttention(), before, graph(after, TWICE))


def test_minus_infinity_makes_a_condition() -> None:
    check_pass(
        FuseAttention(),
        graph(TURN + "a = MatMul(q, kt) z = Where(m, a, none)" + TAIL, CHOSEN),
        graph("y = Attention<scale=1.0>(q, k, v, m)", CHOSEN),
        seeing(),
    )


def test_a_very_low_number_makes_a_sum() -> None:
    """It differs where a row sees nothing: there it is the mean of all values."""
    before = graph(TURN + "a = MatMul(q, kt) z = Where(m, a, low)" + TAIL, CHOSEN)
    after = graph("t = Where(m, c, low) y = Attention<scale=1.0>(q, k, v, t)", CHOSEN).replace(
        "<f", "<float c = {0}, f", 1
    )
    check_pass(FuseAttention(), before, after, seeing())
    check_pass(FuseAttention(), before, after, seeing(nothing=True))


def test_a_condition_over_a_sum() -> None:
    interface = f"({QKV}, bool[b,1,1,s] m, float[1,2,q,s] bias) => (float[b,2,q,16] y)"
    check_pass(
        FuseAttention(),
        graph(TURN + "a = MatMul(q, kt) c = Add(a, bias) z = Where(m, c, none)" + TAIL, interface),
        graph("t = Where(m, bias, none) y = Attention<scale=1.0>(q, k, v, t)", interface),
        {**seeing(), "bias": np.random.default_rng(1).standard_normal((1, 2, 3, 4)).astype(np.float32)},
    )


def test_a_guard_against_nan_is_what_the_operator_does() -> None:
    body = (
        TURN
        + "a = MatMul(q, kt) z = Where(m, a, none) r = Softmax(z) t = IsNaN(r) p = Where(t, zero, r) y = MatMul(p, v)"
    )
    after = graph("y = Attention<scale=1.0>(q, k, v, m)", CHOSEN)
    check_pass(FuseAttention(), graph(body, CHOSEN), after, seeing())
    check_pass(FuseAttention(), graph(body, CHOSEN), after, seeing(nothing=True))


def test_a_row_that_sees_nothing_becomes_zero_instead_of_nan() -> None:
    model = parse(graph(TURN + "a = MatMul(q, kt) z = Where(m, a, none)" + TAIL, CHOSEN))
    spelled = Evaluator(model, precise=True)(seeing(nothing=True))["y"]
    assert np.isnan(spelled[0]).all()
    assert not np.isnan(spelled[1]).any()
    assert apply(FuseAttention(), model)
    fused = Evaluator(model, precise=True)(seeing(nothing=True))["y"]
    assert (fused[0] == 0).all()
    np.testing.assert_allclose(fused[1], spelled[1], rtol=1e-12)


def seeing(*, nothing: bool = False) -> dict[str, np.ndarray]:
    """Every row sees something; with `nothing`, the first batch sees nothing."""
    random = np.random.default_rng(0)
    sizes = {"q": (2, 2, 3, 16), "k": (2, 2, 4, 16), "v": (2, 2, 4, 16)}
    mask = np.array([[True, False, True, True], [True, True, False, False]]).reshape(2, 1, 1, 4)
    mask[0] &= not nothing
    return {**{name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}, "m": mask}


def test_casts_around_the_softmax() -> None:
    interface = "(float16[b,2,q,16] q, float16[b,2,s,16] k, float16[b,2,s,16] v) => (float16[b,2,q,16] y)"
    body = TURN + "a = MatMul(q, kt) c = Cast<to=1>(a) r = Softmax(c) p = Cast<to=10>(r) y = MatMul(p, v)"
    model = parse(graph(body, interface))
    assert apply(FuseAttention(), model)
    (node,) = model.graph
    assert node.op_type == "Attention"
    assert node.attributes.get_int("softmax_precision") == ir.DataType.FLOAT
    random = np.random.default_rng(0)
    inputs = {name: random.standard_normal((1, 2, 3, 16)).astype(np.float16) for name in "qkv"}
    for precise, tolerance in ((True, 1e-12), (False, 2e-3)):
        want = Evaluator(parse(graph(body, interface)), precise=precise)(inputs)["y"]
        have = Evaluator(model, precise=precise)(inputs)["y"]
        np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)


def test_one_head_of_keys_for_all() -> None:
    interface = "(float[b,2,q,16] q, float[b,1,s,16] k, float[b,1,s,16] v) => (float[b,2,q,16] y)"
    before = graph(TURN + "z = MatMul(q, kt)" + TAIL, interface)
    check_pass(FuseAttention(), before, graph("y = Attention<scale=1.0>(q, k, v)", interface))


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (
            TURN + "a = MatMul(q, kt) c = Add(a, m) z = Mul(c, half)" + TAIL,
            ADDED,
            "its mask is scaled together with the scores",
        ),
        (TURN + "a = MatMul(q, kt) z = Where(m, a, high)" + TAIL, CHOSEN, "not low enough to be added"),
        (
            TURN + "z = MatMul(q, kt)" + TAIL + " w = Neg(p)",
            f"({QKV}) => (float[b,2,q,16] y, float[b,2,q,s] w)",
            "'p' has other users",
        ),
        (
            TURN + "z = MatMul(q, kt)" + TAIL,
            f"({QKV}) => (float[b,2,q,16] y, float[b,2,q,s] p)",
            "'p' is an output of the model",
        ),
        (
            TURN + "z = MatMul(q, kt)" + TAIL,
            "(float[b,2,q,16] q, float[1,2,s,16] k, float[b,2,s,16] v) => (float[b,2,q,16] y)",
            "one batch is not known to be another's: b, 1",
        ),
        (
            TURN + "z = MatMul(q, kt)" + TAIL,
            "(float[b,1,q,16] q, float[b,2,s,16] k, float[b,2,s,16] v) => (float[b,2,q,16] y)",
            "1 heads of queries do not share 2 heads of keys",
        ),
        (
            TURN + "z = MatMul(q, kt)" + TAIL,
            "(float[b,2,q,16] q, float[b,2,1,16] k, float[b,2,s,16] v) => (float[b,2,q,16] y)",
            "keys and values are not known to be as many: 1, s",
        ),
        (
            TURN + "a = MatMul(q, kt) z = Add(a, m)" + TAIL,
            "(float[1,2,q,16] q, float[1,2,s,16] k, float[1,2,s,16] v, float[b,1,q,s] m) => (float[b,2,q,16] y)",
            "its mask may be larger than its scores",
        ),
        (
            TURN + "a = MatMul(q, kt) z = Add(a, m)" + TAIL,
            f"({QKV}, float[b,1,q,1] m) => (float[b,2,q,16] y)",
            "its mask is not known to have a column for every key",
        ),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseAttention(), graph(body, interface), because)


@pytest.mark.parametrize(
    "body",
    [
        TURN + "z = MatMul(q, kt) p = Softmax<axis=2>(z) y = MatMul(p, v)",
        TURN + "z = MatMul(q, kt) p = Softmax<axis=-1>(z) e = Exp(p) y = MatMul(e, v)",
        TURN + "a = MatMul(q, kt) z = Exp(a)" + TAIL,
        "z = Mul(q, k)" + TAIL,
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    same = "(float[b,2,16,16] q, float[b,2,16,16] k, float[b,2,16,16] v) => (float[b,2,16,16] y)"
    check_unchanged(FuseAttention(), graph(body, same))


def test_a_factor_with_other_users_stays() -> None:
    interface = f"({QKV}) => (float[b,2,q,16] y, float[b,2,q,16] a)"
    check_pass(
        FuseAttention(),
        graph("a = Mul(q, quarter) " + TURN + "z = MatMul(a, kt)" + TAIL, interface),
        graph("a = Mul(q, quarter) y = Attention<scale=1.0>(a, k, v)", interface),
    )
