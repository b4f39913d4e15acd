"""Rotary embeddings by halves become the operator: the angles are halved, and given for every batch."""

from __future__ import annotations

import re

import numpy as np
import pytest
from check import apply, check_unchanged, parse, same_numbers
from hub import hub

from compiler.ir.evaluate import Evaluator
from compiler.passes.fuse_rotary_embedding import FuseRotaryEmbedding

X = "(float[b,2,s,8] x, float[1,s,4] f) => (float[b,2,s,8] y)"
TABLE = "table = {0.1,0.2,0.1,0.2, 0.3,0.4,0.3,0.4, 0.5,0.6,0.5,0.6}"
CONSTANTS = (
    "int64[1] zero = {0}",
    "int64[1] one = {1}",
    "int64[1] two = {2}",
    "int64[1] three = {3}",
    "int64[1] four = {4}",
    "int64[1] end = {9223372036854775807}",
    "float half = {0.5}",
    f"float[3,4] {TABLE}",
    "float[1,s,8] c3",
    "float[1,s,8] d3",
    "float[1,1,s,8] c",
    "float[1,1,s,8] d",
    "float[b,2,s,8] y1",
    "float[b,2,s,4] r",
)
ANGLES = "a = Concat<axis=-1>(f, f) c3 = Cos(a) d3 = Sin(a) c = Unsqueeze(c3, one) d = Unsqueeze(d3, one) "
HALVES = "x1 = Slice(x, zero, four, three) x2 = Slice(x, four, end, three) "
TURN = "n = Neg(x2) t = Concat<axis=-1>(n, x1) "
SUM = "p = Mul(x, c) q = Mul(t, d) y = Add(p, q)"


def graph(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS)


def check_fused(text: str, operators: list[str], **attributes: int) -> None:
    model, original = parse(text), parse(text)
    assert apply(FuseRotaryEmbedding(), model)
    assert sorted(node.op_type for node in model.graph) == sorted(operators)
    (rotation, *_) = (node for node in model.graph if node.op_type == "RotaryEmbedding")
    assert {name: attr.value for name, attr in rotation.attributes.items()} == attributes
    assert not apply(FuseRotaryEmbedding(), model)
    same_numbers(original, model)


ROTATED = ["Cos", "Sin", "Shape", "Shape", "Concat", "Concat", "Expand", "Expand", "RotaryEmbedding"]


@pytest.mark.parametrize(
    "body",
    [
        ANGLES + HALVES + TURN + SUM,
        ANGLES + HALVES + TURN + "p = Mul(c, x) q = Mul(d, t) y = Add(q, p)",
        ANGLES + "x1, x2 = Split<axis=-1, num_outputs=2>(x) " + TURN + SUM,
    ],
)
def test_every_spelling(body: str) -> None:
    declared = (*CONSTANTS, "float[b,2,s,4] x1", "float[b,2,s,4] x2")
    check_fused(hub(X, body, *declared), ROTATED)


PAIRS = (
    "int64[1] last = {-1}",
    "int64[3] twice = {1, 1, 8}",
    "int64[3] twofold = {1, 1, 1}",
    "int64[4] flat = {0, 2, -1, 8}",
    "int64[3] row = {1, -1, 8}",
    "int64[5] view = {0, 2, -1, 4, 2}",
    "int64[4] tiles = {1, 1, 1, 2}",
    "float[1,s,8] a",
    "float[1,s,4,1] f4",
    "float[1,s,4,2] f5",
    "float[b,2,s,4,2] w",
    "float[b,2,s,4,2] j",
    "float[b,2,s,4] x1",
    "float[b,2,s,4] x2",
    "float[b,2,s,4] n",
    "float[b,2,s,4,1] u1",
    "float[b,2,s,4,1] u2",
    "float[b,2,s,4,1] n5",
    "float[b,2,s,8] t",
)
TWICE = "f4 = Unsqueeze(f, last) f5 = Tile(f4, tiles) a = Reshape(f5, row) "
NEIGHBOURS = ANGLES.replace("a = Concat<axis=-1>(f, f) ", TWICE)
STRIDED = "x1 = Slice(x, zero, end, last, two) x2 = Slice(x, one, end, last, two) "
VIEWED = "w = Reshape(x, view) "
JOIN = "j = Concat<axis=-1>(u1, u2) t = Reshape(j, flat) "
SPREAD = "n = Neg(x2) u1 = Unsqueeze(n, last) u2 = Unsqueeze(x1, last) " + JOIN


def pairs(body: str, interface: str = X) -> str:
    return hub(interface, body, *CONSTANTS, *PAIRS)


@pytest.mark.parametrize(
    "body",
    [
        NEIGHBOURS + STRIDED + SPREAD + SUM,
        NEIGHBOURS + STRIDED + "n5 = Unsqueeze(x2, last) u1 = Neg(n5) u2 = Unsqueeze(x1, last) " + JOIN + SUM,
        NEIGHBOURS + VIEWED + "u2 = Slice(w, zero, one, last) n5 = Slice(w, one, two, last) u1 = Neg(n5) " + JOIN + SUM,
        NEIGHBOURS + VIEWED + "u2, n5 = Split<axis=-1, num_outputs=2>(w) u1 = Neg(n5) " + JOIN + SUM,
        NEIGHBOURS + VIEWED + "x1 = Gather<axis=-1>(w, i0) x2 = Gather<axis=4>(w, i1) " + SPREAD + SUM,
        NEIGHBOURS.replace("Tile(f4, tiles)", "Concat<axis=-1>(f4, f4)") + STRIDED + SPREAD + SUM,
    ],
)
def test_neighbours_instead_of_halves(body: str) -> None:
    declared = (*CONSTANTS, *PAIRS, "int64 i0 = {0}", "int64 i1 = {1}")
    check_fused(hub(X, body, *declared), ROTATED_PAIRS, interleaved=1)


ROTATED_PAIRS = ["Cos", "Sin", "Shape", "Shape", "Concat", "Concat", "Expand", "Expand", "RotaryEmbedding"]


def test_neighbours_of_angles_that_got_their_head_axis_at_once() -> None:
    once = "c0 = Cos(g) c1 = Unsqueeze(c0, last) c2 = Tile(c1, double) c = Reshape(c2, whole) "
    angles = once + re.sub(r"\bc", "d", once.replace("Cos", "Sin"))
    declared = tuple(
        text.replace("[b,", "[1,") for text in (*CONSTANTS, *PAIRS) if "] c" not in text and "] d" not in text
    )
    declared += (
        "int64[3] double = {1, 1, 2}",
        "int64[4] whole = {1, 1, -1, 8}",
        "float[1,1,s,8] c",
        "float[1,1,s,8] d",
    )
    declared += tuple(f"float[s,4{tail}] {out}{n}" for out in "cd" for n, tail in ((0, ""), (1, ",1"), (2, ",2")))
    text = hub(X.replace("[1,s,4] f", "[s,4] g").replace("[b,", "[1,"), angles + STRIDED + SPREAD + SUM, *declared)
    check_fused(text, ["Cos", "Sin", "Unsqueeze", "Unsqueeze", "RotaryEmbedding"], interleaved=1)


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (ANGLES + STRIDED + SPREAD + SUM, "its angles 'c' are not known to have equal neighbours"),
        (NEIGHBOURS + HALVES + TURN + SUM, "its angles 'c' are not known to have equal halves"),
    ],
)
def test_angles_of_the_other_layout(body: str, because: str) -> None:
    check_unchanged(FuseRotaryEmbedding(), pairs(body), because)


@pytest.mark.parametrize(
    "body",
    [
        NEIGHBOURS + STRIDED.replace("zero, end", "one, end", 1) + SPREAD + SUM,
        NEIGHBOURS + STRIDED + SPREAD.replace("Neg(x2)", "Neg(x1)").replace("(x1, last)", "(x2, last)") + SUM,
        NEIGHBOURS + STRIDED + SPREAD.replace("Neg", "Abs") + SUM,
        NEIGHBOURS + STRIDED.replace("two", "three") + SPREAD + SUM,
    ],
)
def test_other_turns_of_neighbours_are_left_alone(body: str) -> None:
    check_unchanged(FuseRotaryEmbedding(), pairs(body))


BEHIND = "(float[b,s,2,8] x, float[1,s,4] f) => (float[b,s,2,8] y)"
ONE_AXIS = ["Reshape", "Reshape"]


def positions_first(declared: tuple[str, ...]) -> tuple[str, ...]:
    """The same declarations with the heads behind the positions."""
    return tuple(text.replace("[b,2,s,", "[b,s,2,").replace("[1,1,s,8]", "[1,s,1,8]") for text in declared)


def test_heads_behind_the_positions() -> None:
    body = (ANGLES + HALVES + TURN + SUM).replace("(c3, one)", "(c3, two)").replace("(d3, one)", "(d3, two)")
    check_fused(hub(BEHIND, body, *positions_first(CONSTANTS)), [*ROTATED, *ONE_AXIS], num_heads=2)


def test_neighbours_with_heads_behind_the_positions() -> None:
    body = (NEIGHBOURS + STRIDED + SPREAD + SUM).replace("(c3, one)", "(c3, two)").replace("(d3, one)", "(d3, two)")
    declared = positions_first((*CONSTANTS, *PAIRS))
    declared = tuple(text.replace("flat = {0, 2, -1, 8}", "flat = {0, -1, 2, 8}") for text in declared)
    check_fused(hub(BEHIND, body, *declared), [*ROTATED_PAIRS, *ONE_AXIS], interleaved=1, num_heads=2)


def test_an_unknown_number_of_heads_behind_the_positions() -> None:
    body = (ANGLES + HALVES + TURN + SUM).replace("(c3, one)", "(c3, two)").replace("(d3, one)", "(d3, two)")
    declared = tuple(text.replace("[b,s,2,", "[b,s,h,") for text in positions_first(CONSTANTS))
    text = hub(BEHIND.replace("[b,s,2,8]", "[b,s,h,8]"), body, *declared)
    check_unchanged(FuseRotaryEmbedding(), text, "how many heads 'x' has is not known")


AT_ONCE = "c3 = Cos(f) d3 = Sin(f) c = Unsqueeze(c3, one) d = Unsqueeze(d3, one) " + HALVES
PRODUCTS = "p = Mul(x1, c) q = Mul(x2, d) n = Sub(p, q) u = Mul(x2, c) v = Mul(x1, d) w = Add(u, v) "


@pytest.mark.parametrize(
    "body",
    [
        AT_ONCE + PRODUCTS + "y = Concat<axis=-1>(n, w)",
        AT_ONCE
        + PRODUCTS.replace("Add(u, v)", "Add(v, u)").replace("Mul(x1, c)", "Mul(c, x1)")
        + "y = Concat<axis=3>(n, w)",
    ],
)
def test_two_sums_that_are_joined(body: str) -> None:
    check_fused(hub(X, body, *HALF_ANGLES), ROTATED)


HALF_ANGLES = (
    *(text for text in CONSTANTS if not text.startswith("float[1")),
    "float[1,s,4] c3",
    "float[1,s,4] d3",
    "float[1,1,s,4] c",
    "float[1,1,s,4] d",
    "float[b,2,s,4] x1",
    "float[b,2,s,4] x2",
)


@pytest.mark.parametrize(
    "products",
    [
        PRODUCTS.replace("Sub(p, q)", "Sub(q, p)"),
        PRODUCTS.replace("Sub", "Add"),
        PRODUCTS.replace("u = Mul(x2, c)", "u = Mul(x1, c)"),
        PRODUCTS.replace("v = Mul(x1, d)", "v = Mul(x1, c)"),
        PRODUCTS.replace("q = Mul(x2, d)", "q = Mul(x2, c)"),
    ],
)
def test_other_sums_that_are_joined_are_left_alone(products: str) -> None:
    check_unchanged(FuseRotaryEmbedding(), hub(X, AT_ONCE + products + "y = Concat<axis=-1>(n, w)", *HALF_ANGLES))


def test_the_first_elements_of_neighbours_only() -> None:
    interface = "(float[1,2,s,12] z, float[1,s,4] f) => (float[1,2,s,12] y)"
    split = "x = Slice(z, zero, eight, three) rest = Slice(z, eight, end, three) "
    body = NEIGHBOURS + split + STRIDED + SPREAD + SUM.replace("y =", "r2 =") + " y = Concat<axis=-1>(r2, rest)"
    declared = [text.replace("[b,", "[1,") for text in (*CONSTANTS, *PAIRS, "int64[1] eight = {8}", "float[b,2,s,8] x")]
    check_fused(
        hub(interface, body, *declared), ["Cos", "Sin", "RotaryEmbedding"], interleaved=1, rotary_embedding_dim=8
    )


def test_factors_on_the_angles_stay() -> None:
    angles = ANGLES.replace("c3 = Cos(a)", "c0 = Cos(a) c3 = Mul(c0, half)")
    check_fused(graph(angles + HALVES + TURN + SUM), ["Mul", *ROTATED])


def test_one_batch_needs_no_copies_of_the_angles() -> None:
    interface = X.replace("[b,", "[1,")
    check_fused(graph(ANGLES + HALVES + TURN + SUM, interface), ["Cos", "Sin", "RotaryEmbedding"])


def test_angles_from_a_table() -> None:
    interface = "(float[b,2,s,4] x, int64[b,s] i) => (float[b,2,s,4] y)"
    angles = "c3 = Gather(table, i) d3 = Neg(c3) c = Unsqueeze(c3, one) d = Unsqueeze(d3, one) "
    halves = "x1 = Slice(x, zero, two, three) x2 = Slice(x, two, end, three) "
    declared = ["float[b,1,s,4] c", "float[b,1,s,4] d", "float[b,s,4] c3", "float[b,s,4] d3", *CONSTANTS[:8]]
    # Each half is made by itself; merging what is common is another pass.
    check_fused(hub(interface, angles + halves + TURN + SUM, *declared), ["Gather", "Gather", "Neg", "RotaryEmbedding"])


def test_two_rotations_share_their_angles() -> None:
    first = HALVES + TURN + SUM.replace("y =", "y1 =")
    second = "x3 = Slice(y1, zero, four, three) x4 = Slice(y1, four, end, three) n2 = Neg(x4) "
    second += "t2 = Concat<axis=-1>(n2, x3) p2 = Mul(y1, c) q2 = Mul(t2, d) y = Add(p2, q2)"
    check_fused(graph(ANGLES + first + second), [*ROTATED, "RotaryEmbedding"])


def test_the_first_elements_only() -> None:
    interface = "(float[1,2,s,8] z, float[1,s,2] f) => (float[1,2,s,8] y)"
    split = "x = Slice(z, zero, four, three) rest = Slice(z, four, end, three) "
    halves = "x1 = Slice(x, zero, two, three) x2 = Slice(x, two, end, three) "
    body = ANGLES + split + halves + TURN + SUM.replace("y =", "w =") + " y = Concat<axis=-1>(w, rest)"
    declared = ["float[1,2,s,4] x", "float[1,s,4] c3", "float[1,s,4] d3", "float[1,1,s,4] c", "float[1,1,s,4] d"]
    text = hub(interface, body, *declared, *CONSTANTS[:6])
    check_fused(text, ["Cos", "Sin", "RotaryEmbedding"], rotary_embedding_dim=4)


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (
            ANGLES.replace("a = Concat<axis=-1>(f, f)", "g = Neg(f) a = Concat<axis=-1>(f, g)") + HALVES + TURN + SUM,
            X,
            "its angles 'c' are not known to have equal halves",
        ),
        (
            HALVES + TURN + SUM,
            "(float[b,2,s,8] x, float[b,2,s,8] c, float[b,2,s,8] d) => (float[b,2,s,8] y)",
            "may be other ones for each head",
        ),
        (
            HALVES + TURN + SUM,
            "(float[b,2,s,8] x, float[b,1,s,8] c, float[b,1,s,8] d) => (float[b,2,s,8] y)",
            "are not known to be [batch, 1, length, element]",
        ),
        (
            ANGLES.replace("Unsqueeze(c3, one)", "Unsqueeze(c3, zero)") + HALVES + TURN + SUM,
            X.replace("float[1,s,4] f", "float[2,s,4] f"),
            "may be other ones for each head",
        ),
        (
            ANGLES + HALVES + TURN + SUM + " z = Neg(t)",
            "(float[b,2,s,8] x, float[1,s,4] f) => (float[b,2,s,8] y, float[b,2,s,8] z)",
            "'t' has other users",
        ),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    declared = CONSTANTS
    if "f) =>" in interface and "float[2,s,4] f" in interface:
        declared = tuple(text for text in CONSTANTS if not text.endswith((" c", " d", " c3", " d3")))
        declared += ("float[2,s,8] c3", "float[2,s,8] d3", "float[1,2,s,8] c", "float[2,1,s,8] d")
    check_unchanged(FuseRotaryEmbedding(), hub(interface, body, *declared), because)


@pytest.mark.parametrize(
    "body",
    [
        ANGLES + HALVES + TURN.replace("(n, x1)", "(x1, n)") + SUM,
        ANGLES + HALVES + TURN.replace("Neg(x2)", "Neg(x1)") + SUM,
        ANGLES + HALVES + TURN + SUM.replace("Add", "Sub"),
        ANGLES + HALVES.replace("four", "two") + TURN.replace("(n, x1)", "(n, x1)") + "y = Mul(x, c)",
    ],
)
def test_other_formulas_are_left_alone(body: str) -> None:
    check_unchanged(FuseRotaryEmbedding(), graph(body))


def test_the_operator_turns_each_pair_by_its_angle() -> None:
    """The identity itself, on numbers."""
    model = parse(graph(ANGLES + HALVES + TURN + SUM))
    FuseRotaryEmbedding()(model)
    x, angle = np.zeros((1, 2, 1, 8), np.float32), np.full((1, 1, 4), np.pi / 2, np.float32)
    x[..., 1] = 1.0
    turned = Evaluator(model, precise=True)({"x": x, "f": angle})["y"]
    np.testing.assert_allclose(turned[0, 0, 0], np.eye(8)[5], atol=1e-7)
