"""Longer pieces of random graphs: what certain passes look for and single operators hardly ever make up by chance."""

from __future__ import annotations

import numpy as np
from random_graphs import ONE, Dim, Maker, Value, fixed
from random_operators import Operator, is_float


def sum_of_transposes(maker: Maker) -> None:
    value = maker.value(lambda value: is_float(value) and value.rank > 1)
    if value is None:
        return
    order = [int(axis) for axis in maker.rng.permutation(value.rank)]
    dims = [value.dims[axis] for axis in order]
    one = maker.emit("Transpose", [value.name], value.dtype, dims, perm=order)
    other = maker.hidden("Transpose", [maker.hidden("Abs", [value.name])], perm=order)
    total = maker.emit(maker.pick(("Add", "Mul", "Max")), [one.name, other], value.dtype, dims)
    if maker.chance(0.5):
        back = [int(axis) for axis in np.argsort(order)]
        maker.emit("Transpose", [total.name], value.dtype, value.dims, perm=back)


def reduced_axes(maker: Maker) -> None:
    """They go and come back, or stay and go then; now and then others come or go."""
    value = maker.value(lambda value: is_float(value) and value.rank > 0)
    if value is None:
        return
    axis = int(maker.rng.integers(value.rank))
    kept = int(maker.rng.integers(2))
    operator = maker.pick(("ReduceSum", "ReduceMean", "ReduceMax"))
    reduced = maker.hidden(operator, [value.name, maker.ints(axis)], keepdims=kept)
    left = [dim for place, dim in enumerate(value.dims) if place != axis]
    if kept:
        maker.emit("Squeeze", [reduced, maker.ints(axis - value.rank)], value.dtype, left)
    else:
        place = axis if maker.chance(0.7) else 0
        dims: list[Dim] = [*left[:place], ONE, *left[place:]]
        maker.emit("Unsqueeze", [reduced, maker.ints(place)], value.dtype, dims)


def flat_lookup(maker: Maker) -> None:
    """Rows of a table by indices of several axes, which are put in a row first."""
    value = maker.value(lambda value: value.dtype == "int64" and sum(not dim.fixed for dim in value.dims) < 2)
    if value is None:
        return
    rows, width = maker.size(), maker.size()
    bounds = [maker.constant(np.array(bound, np.int64)) for bound in (-rows, rows - 1)]
    indices = maker.hidden("Clip", [value.name, *bounds])
    table = maker.weight((rows, width), "float32")
    found = maker.hidden("Gather", [table, maker.hidden("Reshape", [indices, maker.ints(-1)])])
    shape = [dim.at[0] if dim.fixed else -1 for dim in value.dims]
    maker.emit("Reshape", [found, maker.ints(*shape, width)], "float32", [*value.dims, fixed(width)])


def scaled_layer(maker: Maker) -> None:
    value = maker.value(lambda value: value.dtype in ("float32", "float64") and value.rank > 1 and value.dims[-1].fixed)
    if value is None:
        return
    width = maker.size()
    product = maker.hidden("MatMul", [value.name, maker.weight((value.dims[-1].at[0], width), value.dtype)])
    parts = [product, maker.weight((width,), value.dtype)]
    biased = maker.hidden("Add", parts if maker.chance(0.5) else parts[::-1])
    scale = maker.weight((width,) if maker.chance(0.7) else (), value.dtype)
    maker.emit("Mul", [biased, scale], value.dtype, [*value.dims[:-1], fixed(width)])


def rotation(maker: Maker) -> None:
    """Of neighbours, at fixed lengths."""
    value = maker.value(lambda value: _may_turn(value))
    if value is None:
        return
    length, width = value.dims[2].at[0], value.dims[3].at[0]
    angle = maker.constant(maker.rng.standard_normal((1, length, width // 2)).astype("float32"))
    last, twice = maker.ints(-1), maker.ints(1, 1, 1, 2)
    double = maker.hidden("Tile", [maker.hidden("Unsqueeze", [angle, last]), twice])
    angles = maker.hidden("Reshape", [double, maker.ints(1, 1, length, width)])
    halves = [
        maker.hidden("Slice", [value.name, maker.ints(start), maker.ints(width), last, maker.ints(2)])
        for start in (0, 1)
    ]
    parts = [maker.hidden("Unsqueeze", [part, last]) for part in (maker.hidden("Neg", [halves[1]]), halves[0])]
    target = [dim.at[0] if dim.fixed else -1 for dim in value.dims]
    turned = maker.hidden("Reshape", [maker.hidden("Concat", parts, axis=-1), maker.ints(*target)])
    sides = [
        maker.hidden("Mul", [side, maker.hidden(kind, [angles])])
        for side, kind in ((value.name, "Cos"), (turned, "Sin"))
    ]
    maker.emit("Add", sides, value.dtype, value.dims)


def _may_turn(value: Value) -> bool:
    if value.dtype != "float32" or value.rank != 4 or sum(not dim.fixed for dim in value.dims) > 1:
        return False
    return value.dims[2].fixed and value.dims[3].fixed and value.dims[3].at[0] % 2 == 0


MOTIFS: tuple[Operator, ...] = (sum_of_transposes, reduced_axes, flat_lookup, scaled_layer, rotation)
