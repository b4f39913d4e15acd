"""Indices that are put in a row, and their rows apart again, are looked up as they are."""

from __future__ import annotations

import numpy as np
import pytest
from check import check_unchanged, parse, same_numbers

from compiler.passes.unflatten_gathers import UnflattenGathers

INTERFACE = "(int64[b,3] i, float[5,4] w) => (float[b,3,4] y)"
SHAPES = "int64[1] flat = {-1}, int64[3] apart = {-1, 3, 4}, float[k,4] g"
BODY = "f = Reshape(i, flat) g = Gather(w, f) y = Reshape(g, apart)"


def test_indices_keep_their_axes() -> None:
    text = f"{INTERFACE} <{SHAPES}> {{ {BODY} }}"
    model = parse(text)
    assert UnflattenGathers()(model).modified
    assert [node.op_type for node in model.graph] == ["Gather"]
    assert not UnflattenGathers()(model).modified
    inputs = {"i": np.array([[0, 4, -1], [2, 2, 3]]), "w": np.arange(20, dtype=np.float32).reshape(5, 4)}
    same_numbers(parse(text), model, inputs)


@pytest.mark.parametrize(
    ("interface", "body"),
    [
        (INTERFACE.replace("y)", "y, float[k,4] g)"), BODY),
        (INTERFACE.replace("[b,3,4] y", "[c,3,4] y"), BODY),
        (INTERFACE.replace("[5,4]", "[5,12]").replace("[b,3]", "[b,1]"), BODY),
        (INTERFACE.replace("[5,4] w", "[4,5] w"), BODY.replace("Gather", "Gather<axis=1>")),
    ],
)
def test_other_shapes_stay(interface: str, body: str) -> None:
    declared = SHAPES.replace(", float[k,4] g", "")
    check_unchanged(UnflattenGathers(), f"{interface} <{declared}> {{ {body} }}")
