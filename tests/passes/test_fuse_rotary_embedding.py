"""Rotary embeddings by halves become the operator: the angles are halved, and given for every batch."""

from __future__ import annotations

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
            "the halves of its angles 'c' are not known to be equal",
        ),
        (
            HALVES + TURN + SUM,
            "(float[b,2,s,8] x, float[b,2,s,8] c, float[b,2,s,8] d) => (float[b,2,s,8] y)",
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
