"""OpenVINO: Tile with repeats that are known at run time only."""

from __future__ import annotations

import numpy as np
from check import apply, check_unchanged, draw, parse, same_numbers

from backends.openvino.passes.spell_out_tile import SpellOutTile


def test_computed_repeats_are_spelled_out() -> None:
    text = "(float[2,n,3] x, int64[3] r) => (float[a,b,c] y) { y = Tile(x, r) }"
    model, original = parse(text), parse(text)
    assert apply(SpellOutTile(), model)
    assert "Tile" not in {node.op_type for node in model.graph}
    assert not apply(SpellOutTile(), model)
    for repeats in ([1, 2, 3], [2, 2, 2], [1, 1, 1], [0, 1, 2]):
        same_numbers(original, model, {**draw(original), "r": np.array(repeats)})


def test_constant_repeats_stay() -> None:
    check_unchanged(SpellOutTile(), "(float[2,n] x) => (float[4,m] y) <int64[2] r = {2, 1}> { y = Tile(x, r) }")
