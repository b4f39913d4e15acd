"""relax.matmul of uint8 rows with constant int8 weights, summed up in int32, exactly.

The weights [K, N] are stored as [panels, K / steps, tile columns, steps]: what one instruction takes lies together
(kernels/dots.py). K is filled up with zeros to whole steps, as N is to whole panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.kernels.dots import Dot, dot_of, tensor_intrinsic
from backends.tvm.lower.kernels.matmul import multiple_of, round_up, tile_for
from backends.tvm.lower.relax_tools import constant, dtype_of, fixed, known, shape_of
from backends.tvm.lower.tiles import Tile, ceil_div

# Rows, vectors and lanes of a tile, and the instruction that its inner loops become.
DOT_TILE = "plumbline.dot_tile"


def is_integer(call: relax.Call) -> bool:
    return [dtype_of(expr) for expr in (*call.args, call)] == ["uint8", "int8", "int32"]


def integer_matmul(at: Lowering, call: relax.Call) -> relax.Expr:
    left, right = call.args
    dot, weight = dot_of(at.machine), constant(right)
    if dot is None:
        raise DeclinedError(f"{at.machine.mcpu} has no instruction for it")
    if weight is None or weight.ndim != 2 or left.ty.ndim < 2 or known(shape_of(left)[-1]) is None:
        raise DeclinedError("its right side is no constant matrix, or its left side has no rows of a known length")
    width = weight.shape[1]
    tile = tile_for(shape_of(left)[-2], width, at.machine)
    packed = at.packed((right, dot, tile.columns), lambda: pack(weight, tile.columns, dot.steps))

    def compute(a: te.Tensor, w: te.Tensor) -> te.Tensor:
        return _product(widened(a, dot), w, width, tile, dot)

    return at.call(compute, left, packed, name="integer_matmul")


def pack(weight: np.ndarray[Any, Any], columns: int, steps: int) -> np.ndarray[Any, Any]:
    depth, width = weight.shape
    panels, groups = ceil_div(width, columns), ceil_div(depth, steps)
    padded = np.zeros((groups * steps, panels * columns), weight.dtype)
    padded[:depth, :width] = weight
    return np.ascontiguousarray(padded.reshape(groups, steps, panels, columns).transpose(2, 0, 3, 1))


def widened(a: te.Tensor, dot: Dot) -> te.Tensor:
    """Rows in the type that the instruction takes, filled up to whole steps."""
    *lead, depth = a.shape
    exact = int(depth) % dot.steps == 0
    if exact and a.dtype == dot.data:
        return a

    def element(*i: tirx.Var) -> Any:
        value = a(*i).astype(dot.data)
        return value if exact else tirx.if_then_else(i[-1] < depth, value, tirx.const(0, dot.data))

    return te.compute((*lead, round_up(depth, dot.steps)), element, name="widened")


def _product(a: te.Tensor, w: te.Tensor, width: int, tile: Tile, dot: Dot) -> te.Tensor:
    *lead, rows, depth = a.shape
    exact = multiple_of(rows) % tile.rows == 0

    def element(*i: tirx.Var) -> Any:
        *place, row, column = i
        inside = row if exact else tirx.min(row, rows - 1)

        def weights(group: Any, step: Any) -> Any:
            return w(column // tile.columns, group, column % tile.columns, step)

        return dot_sum(lambda k: a(*place, inside, k), weights, [], depth, dot)

    shape = (*lead, round_up(rows, tile.rows), round_up(width, tile.columns))
    tiles = dot_tiles(shape, element, tile, dot)
    return te.compute((*lead, rows, width), lambda *i: tiles(*i), name="product")


def dot_sum(
    data: Callable[[Any], Any], weights: Callable[[Any, Any], Any], outside: Sequence[Any], depth: Any, dot: Dot
) -> Any:
    """Over what is outside, and the depth in steps: the innermost loops are one instruction."""
    group = te.reduce_axis((0, fixed(tirx.floordiv(depth, dot.steps))), name="group")
    step = te.reduce_axis((0, dot.steps), name="step")
    product = data(group * dot.steps + step).astype("int32") * weights(group, step).astype("int32")
    return te.sum(product, axis=[*outside, group, step])


def dot_tiles(shape: Sequence[Any], element: Callable[..., Any], tile: Tile, dot: Dot) -> te.Tensor:
    mark = [tile.rows, tile.columns // dot.lanes, dot.lanes, tensor_intrinsic(dot)]
    return te.compute(shape, element, name="tiles", attrs={DOT_TILE: mark})
