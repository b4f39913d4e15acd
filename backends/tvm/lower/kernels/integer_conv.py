"""Convolutions of uint8 data, channels last, with constant int8 weights, summed up in int32, exactly.

As in kernels/conv.py; the weights lie as [panels, kernel..., inputs / steps, tile columns, steps].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.kernels.conv import Window, padded, window_of
from backends.tvm.lower.kernels.dots import Dot, dot_of
from backends.tvm.lower.kernels.integer_matmul import dot_sum, dot_tiles, widened
from backends.tvm.lower.kernels.matmul import fitting, multiple_of, round_up
from backends.tvm.lower.relax_tools import constant, fixed, known, shape_of
from backends.tvm.lower.tiles import Tile, ceil_div, pick_tile


def integer_conv(at: Lowering, call: relax.Call) -> relax.Expr:
    data, kernel = call.args
    dot, weight, line = dot_of(at.machine), constant(kernel), shape_of(call)[-2]
    if dot is None or weight is None:
        raise DeclinedError("there is no instruction for it, or its weights are not constant")
    outputs = weight.shape[0]
    window = window_of(call.attrs, [int(size) for size in weight.shape[1:-1]])
    tile = fitting(line, pick_tile(known(line), outputs, at.machine))
    packed = at.packed((kernel, dot, tile.columns), lambda: _pack(weight, tile.columns, dot.steps))

    def compute(x: te.Tensor, w: te.Tensor, shape: Sequence[Any]) -> te.Tensor:
        return _convolved(padded(widened(x, dot), window), w, shape, window, tile, dot)

    return at.call(compute, data, packed, call.ty.shape, name="integer_conv")


def _convolved(
    source: te.Tensor, w: te.Tensor, shape: Sequence[Any], window: Window, tile: Tile, dot: Dot
) -> te.Tensor:
    batch, *sizes, outputs = map(fixed, shape)
    over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]
    exact = multiple_of(sizes[-1]) % tile.rows == 0

    def element(n: Any, *i: Any) -> Any:
        *places, column = i
        if not exact:
            places[-1] = tirx.min(places[-1], sizes[-1] - 1)
        reached = window.at(places, over)

        def data(channel: Any) -> Any:
            return source(n, *reached, channel)

        def weights(group: Any, step: Any) -> Any:
            return w(column // tile.columns, *over, group, column % tile.columns, step)

        return dot_sum(data, weights, over, source.shape[-1], dot)

    covered = (batch, *sizes[:-1], round_up(sizes[-1], tile.rows), round_up(outputs, tile.columns))
    tiles = dot_tiles(covered, element, tile, dot)
    return te.compute((batch, *sizes, outputs), lambda *i: tiles(*i), name="conv")


def _pack(weight: np.ndarray[Any, Any], columns: int, steps: int) -> np.ndarray[Any, Any]:
    outputs, *window, inputs = weight.shape
    panels, groups = ceil_div(outputs, columns), ceil_div(inputs, steps)
    filled = np.zeros((panels * columns, *window, groups * steps), weight.dtype)
    filled[:outputs, ..., :inputs] = weight
    parts = filled.reshape(panels, columns, *window, groups, steps)
    return np.ascontiguousarray(np.moveaxis(parts, 1, -2))
